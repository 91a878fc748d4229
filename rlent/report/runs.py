"""Runs as a report sees them: files in, and runs that differ in their seed alone put together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from rlent.report.trace import Trace, read_trace
from rlent.tracking import read_metrics

Metrics = Sequence[Mapping[str, Any]]
"""Lines of ``metrics.jsonl``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFiles:
    """Where a run's files are. Only ``metrics`` must exist."""

    name: str
    metrics: Path
    rollouts: Path
    recipe: Path


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A run's files, read. ``recipe`` is empty where the run has none."""

    name: str
    recipe: Mapping[str, Any]
    recipe_text: str
    metrics: Metrics
    trace: Trace | None

    def interventions(self) -> dict[str, dict[str, Any]]:
        """Settings by name."""
        listed = self.recipe.get("interventions") or ()
        return {name: dict(settings or {}) for entry in listed for name, settings in entry.items()}


def read_run(files: RunFiles) -> Run:
    """Everything of a run that a report shows."""
    text = files.recipe.read_text(encoding="utf-8") if files.recipe.exists() else ""
    return Run(
        name=files.name,
        recipe=YAML(typ="safe").load(text) or {},
        recipe_text=text,
        metrics=list(read_metrics(files.metrics)),
        trace=read_trace(files.rollouts),
    )


def configurations(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs whose recipes differ in nothing but seed, name and folder, under a name made of theirs."""
    together: dict[str, list[Run]] = {}
    for run in runs:
        together.setdefault(_without_seed(run), []).append(run)
    return {_label(seeds): seeds for seeds in together.values()}


def _without_seed(run: Run) -> str:
    if not run.recipe:
        return run.name
    recipe = {key: value for key, value in run.recipe.items() if key not in ("name", "output_dir")}
    trainer = recipe.get("trainer") or {}
    recipe["trainer"] = {key: value for key, value in trainer.items() if key != "seed"}
    return json.dumps(recipe, sort_keys=True, default=str)


def _label(seeds: Sequence[Run]) -> str:
    names = [run.name for run in seeds]
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} … {names[-1]} ({len(names)} runs)"
