"""Several configurations with several seeds each, beside one another."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlent.tracking import read_metrics

Curve = Mapping[int, float]
"""Step -> value; empty where a run does not log the metric."""
Measured = Mapping[str, Mapping[str, Sequence[Curve]]]
"""Metric -> configuration -> a curve per seed."""

LAST = 20
"""A run's final value is the mean over its last so many steps: single steps are noisy."""


def read_curve(run: Path, metric: str) -> Curve:
    """A metric of a run folder."""
    return curve_of(read_metrics(run / "metrics.jsonl"), metric)


def curve_of(rows: Iterable[Mapping[str, Any]], metric: str) -> Curve:
    """A metric of the lines of ``metrics.jsonl``."""
    return {row["step"]: float(row[metric]) for row in rows if row.get(metric) is not None}


def final(curve: Curve) -> float:
    """Mean over the last ``LAST`` steps."""
    end = max(curve)
    late = [value for step, value in curve.items() if step > end - LAST]
    return sum(late) / len(late)


def print_study(measured: Measured) -> None:
    """One line per configuration: the seeds' mean of every final value, and in brackets their range."""
    configurations = list(dict.fromkeys(name for curves in measured.values() for name in curves))
    print("| |" + "|".join(measured) + "|")
    print("|---|" + "---|" * len(measured))
    for name in configurations:
        cells = [_cell([curve for curve in curves[name] if curve]) for curves in measured.values()]
        print(f"| {name} | " + " | ".join(cells) + " |")


def _cell(curves: Sequence[Curve]) -> str:
    if not curves:
        return ""
    values = [final(curve) for curve in curves]
    return f"{sum(values) / len(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def draw_study(measured: Measured, picture: Path) -> None:
    """A panel per metric: each configuration's mean over seeds, and their range as a band."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(measured), 3.4), layout="constrained")
    for place, (metric, curves) in enumerate(measured.items(), start=1):
        axes = figure.add_subplot(1, len(measured), place)
        for name, seeds in curves.items():
            steps, lowest, mean, highest = over_seeds([curve for curve in seeds if curve])
            (line,) = axes.plot(steps, mean, label=name)
            axes.fill_between(steps, lowest, highest, color=line.get_color(), alpha=0.15)
        axes.set_xlabel("step")
        axes.set_ylabel(metric)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(picture, dpi=110)


def over_seeds(
    curves: Sequence[Curve],
) -> tuple[list[int], list[float], list[float], list[float]]:
    """Steps that every curve has, and the lowest, mean and highest value at each."""
    steps = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    columns = [[curve[step] for curve in curves] for step in steps]
    return (
        steps,
        [min(values) for values in columns],
        [sum(values) / len(values) for values in columns],
        [max(values) for values in columns],
    )
