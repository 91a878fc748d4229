"""The curves of a run as one PNG: reward, held-out score, further sets, entropy of kept and dropped tokens."""

import re
from pathlib import Path
from typing import Any

from rlent.tracking import read_metrics

PANELS: tuple[tuple[str, dict[str, str]], ...] = (
    ("reward", {"reward": "training reward", "held_out/score": "held-out, greedy"}),
    (
        "entropy (nats)",
        {
            "forking_tokens/entropy_kept": "kept tokens",
            "entropy": "all tokens",
            "forking_tokens/entropy_dropped": "dropped tokens",
        },
    ),
    ("implied reward", {"rewards/chosen": "preferred", "rewards/rejected": "rejected"}),
    ("log-probability of a completion (nats)", {"logps": "mean"}),
    ("completion length (tokens)", {"completions/mean_length": "mean length"}),
)
"""Axis label, and the metrics drawn on it with the name each is shown under."""
PASS_AT_1 = r"eval/[^/]+/pass@1"
"""Metrics of the further sets that are drawn together."""


def draw_curves(metrics_file: Path, picture: Path) -> None:
    """Draw every panel that has at least one metric, and one for the further sets."""
    from matplotlib.figure import Figure

    rows = list(read_metrics(metrics_file))
    reward, *others = PANELS
    wanted = [reward, ("pass@1, greedy", _sets(rows)), *others]
    panels = [(label, series) for label, names in wanted if (series := _series(rows, names))]
    figure = Figure(figsize=(4.2 * max(len(panels), 1), 3.2), layout="constrained")
    for place, (label, series) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), place)
        for name, (steps, values) in series.items():
            axes.plot(
                steps, values, label=name, marker="o" if len(steps) < 12 else None, markersize=4
            )
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(picture, dpi=150)


def _sets(rows: list[dict[str, Any]]) -> dict[str, str]:
    """The greedy pass@1 of each set of ``evaluation.sets``, shown under its name."""
    metrics = {metric: None for row in rows for metric in row if re.fullmatch(PASS_AT_1, metric)}
    return {metric: metric.split("/")[1] for metric in metrics}


def _series(
    rows: list[dict[str, Any]], names: dict[str, str]
) -> dict[str, tuple[list[int], list[float]]]:
    series = {}
    for metric, name in names.items():
        points = [(row["step"], row[metric]) for row in rows if row.get(metric) is not None]
        if points:
            steps, values = zip(*points, strict=True)
            series[name] = (list(steps), list(values))
    return series
