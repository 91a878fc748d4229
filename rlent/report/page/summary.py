"""Everything of the page but the completions, as one record of numbers and names."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from rlent.report.correctness import Correctness, correctness
from rlent.report.distribution import EDGES, distribution, mean_by
from rlent.report.forking import (
    MINIMUM,
    compare_forking_tokens,
    most_moved,
    rank_forking_tokens,
)
from rlent.report.page.completions import ENTROPY_STEP, SURPRISE_STEP, Shown
from rlent.report.positions import entropy_by_position
from rlent.report.runs import Run
from rlent.report.series import bands, found_panels
from rlent.report.trace import Trace
from rlent.report.when import first_and_last, step_bins, whole
from rlent.tracking.health import first_warnings, health_metrics

HEALTH_METRICS = health_metrics([]).keys()


def summarise(
    together: Mapping[str, Sequence[Run]], shown: Sequence[Shown | None]
) -> dict[str, Any]:
    """The page's record; ``shown`` has an entry per run, in the order of ``together``."""
    metrics = bands(together)
    named = [(label, run) for label, runs in together.items() for run in runs]
    return {
        "version": version("rlent"),
        "edges": EDGES,
        "entropyStep": ENTROPY_STEP,
        "surpriseStep": SURPRISE_STEP,
        "minimum": MINIMUM,
        "configurations": list(together),
        "metrics": metrics,
        "panels": found_panels(list(metrics)),
        "runs": [
            {
                "name": run.name,
                "configuration": label,
                "recipe": run.recipe_text,
                "totals": totals(run),
                "watched": any(row.keys() & HEALTH_METRICS for row in run.metrics),
                "warnings": first_warnings(run.metrics),
                "tokens": None if part is None else _token_summary(part),
            }
            for (label, run), part in zip(named, shown, strict=True)
        ],
    }


def totals(run: Run) -> dict[str, float | None]:
    """Seconds in steps, tokens seen, and the mean of what was saved."""
    columns: dict[str, list[float]] = {}
    for row in run.metrics:
        for name, value in row.items():
            if value is not None:
                columns.setdefault(name, []).append(value)
    seconds, tokens = columns.get("step_time"), columns.get("num_tokens")
    phases = {
        f"{name}, sum over steps": sum(values)
        for name, values in columns.items()
        if name.startswith(("time/", "tokens/"))
    }
    saved = {
        f"{name}, mean": sum(values) / len(values)
        for name, values in columns.items()
        if name.startswith("saved/")
    }
    return {
        "seconds in steps": None if seconds is None else sum(seconds),
        "tokens": None if tokens is None else tokens[-1],
        "tokens per second": None if not seconds or not tokens else tokens[-1] / sum(seconds),
        **phases,
        **saved,
    }


def _token_summary(shown: Shown) -> dict[str, Any]:
    trace, judged = shown.trace, correctness(shown.trace)
    steps, spreads = distribution(trace, judged)
    periods = first_and_last(trace)
    return {
        "completions": len(trace.length),
        "shown": len(shown.rows),
        "count": len(trace.text),
        "steps": [int(trace.step.min()), int(trace.step.max())],
        "correct": judged.rule,
        "records": {
            "clipped": trace.clipped is not None,
            "preserved": trace.preserved is not None,
            "band": shown.band is not None,
        },
        "distribution": {"steps": steps, "spreads": spreads},
        "lengths": _lengths(trace, judged),
        "periods": None if periods is None else [[part.first, part.last] for part in periods],
        "ranked": rank_forking_tokens(trace, whole(trace), top=20),
        "forking": [] if periods is None else compare_forking_tokens(trace, periods),
        "moved": [] if periods is None else most_moved(trace, periods),
        "positions": [
            {"steps": [part.first, part.last], "at": entropy_by_position(trace, part)}
            for part in periods or (whole(trace),)
        ],
    }


def _lengths(trace: Trace, judged: Correctness) -> dict[str, Any]:
    steps, number = step_bins(trace)
    kinds = {"correct": judged.correct, "wrong": judged.wrong}
    return {
        "steps": steps,
        "kinds": {
            kind: mean_by(number[rows], trace.length[rows].astype(np.float64), len(steps))
            for kind, rows in kinds.items()
        },
    }
