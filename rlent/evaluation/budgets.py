"""A set of problems at token budgets of thinking: one set per budget, and the curve over them.

``math500@2000`` is the set ``math500`` with thinking cut at 2000 tokens (``rlent.rollout.budgets``). The random numbers
of a thinking trace are the same at every budget, so that the traces at a smaller one are the beginnings of those at a
larger.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from rlent.evaluation.problems import ProblemSet
from rlent.evaluation.results import SetResult
from rlent.rollout import Budgets

AT = "@"
"""Between the name of a set and a budget; no set has it in its name."""
CURVES_FILE = "budgets.json"

Curve = Mapping[int, float]
"""Value of a metric by budget, ascending."""


def at_budgets(problems: ProblemSet, budgets: Budgets | None) -> list[ProblemSet]:
    """The set once for every budget; itself where there are none."""
    if budgets is None:
        return [problems]
    return [
        replace(
            problems, name=f"{problems.name}{AT}{level}", budget=replace(budgets, levels=(level,))
        )
        for level in budgets.levels
    ]


def set_name(name: str) -> str:
    """The set that one at a budget was made of."""
    return name.partition(AT)[0]


def curves(results: Sequence[SetResult]) -> dict[str, dict[str, Curve]]:
    """Every metric of every set over the budgets that it was evaluated at."""
    found: defaultdict[str, defaultdict[str, dict[int, float]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for result in results:
        name, at, level = result.name.partition(AT)
        for metric, value in result.metrics.items() if at else ():
            found[name][metric][int(level)] = value
    return {name: dict(metrics) for name, metrics in found.items()}


def area(curve: Curve) -> float:
    """Mean height of the curve between its first and last budget, by trapezoids; the value itself at one budget."""
    points = sorted(curve.items())
    if len(points) == 1:
        return points[0][1]
    steps = pairwise(points)
    total = sum((right - left) * (low + high) / 2 for (left, low), (right, high) in steps)
    return total / (points[-1][0] - points[0][0])


def write_curves(folder: Path, results: Sequence[SetResult]) -> list[str]:
    """Write ``budgets.json``, and return its areas as lines; nothing where no set was evaluated at budgets."""
    found = curves(results)
    if not found:
        return []
    table = {
        name: {
            metric: {"area": area(curve), "at": dict(curve)} for metric, curve in metrics.items()
        }
        for name, metrics in found.items()
    }
    (folder / CURVES_FILE).write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    return [
        f"{name}: {metric} has a mean of {area(curve):.4f} over budgets from {min(curve)} to {max(curve)}"
        for name, metrics in found.items()
        for metric, curve in metrics.items()
    ]
