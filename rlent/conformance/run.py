"""``rlent conformance``: rlent's numbers beside those of the released code, case by case."""

import math
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, as_tensor, float64

from rlent.conformance.cases import Case, load_cases
from rlent.conformance.methods import KNOWN, METHODS, Outputs
from rlent.errors import ConfigError

UNDER_MASK = frozenset(
    {"per_token_loss", "shaped_advantages", "advantages", "nucleus_entropy", "value_mask"}
)
"""Outputs that the released code computes from junk at masked positions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What became of one case."""

    status: Literal["agrees", "differs", "known difference", "not implemented"]
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.status}: {self.detail}" if self.detail else self.status


def run_conformance(folder: Path) -> int:
    """Print one line per case of the folder and a summary; 0 if every compared case agrees, 1 otherwise.

    Raises:
        ConfigError: the folder does not exist, holds no case, or holds a file that is not one.
    """
    counts = Counter[str]()
    for case in load_cases(folder):
        verdict = judge(case)
        counts[verdict.status] += 1
        print(f"{case.method:24}{case.number:3}  {verdict}")
    print(
        f"{counts['agrees']} agree, {counts['differs']} differ, {counts['known difference']} known to differ, "
        f"{counts['not implemented']} not implemented"
    )
    return 1 if counts["differs"] else 0


def judge(case: Case) -> Verdict:
    """Compare one case with its method's tolerance."""
    if case.method in KNOWN:
        return Verdict(status="known difference", detail=KNOWN[case.method])
    if case.method not in METHODS:
        return Verdict(status="not implemented")
    method = METHODS[case.method]
    differences = compare(case, method.outputs(case))
    worst = max(differences, key=lambda name: differences[name])
    if differences[worst] <= method.tolerance:
        return Verdict(status="agrees", detail=method.remark)
    detail = f"{worst} by {differences[worst]:.1e} where {method.tolerance:.0e} is allowed"
    return Verdict(status="differs", detail=detail)


def compare(case: Case, outputs: Outputs) -> dict[str, float]:
    """Largest difference of each output, relative above 1 and absolute below; infinite for another text.

    Raises:
        ConfigError: the file does not hold an output that its method gives.
    """
    missing = outputs.keys() - case.outputs.keys()
    if missing:
        raise ConfigError(
            "the case lacks outputs of its method",
            where=str(case.path),
            expected=", ".join(outputs),
            given=", ".join(case.outputs),
        )
    return {name: _difference(case, name, given) for name, given in outputs.items()}


def _difference(case: Case, name: str, given: Tensor | str) -> float:
    expected = _end_to_end(case.outputs[name])
    if isinstance(given, str):
        return 0.0 if given == expected else math.inf
    if name in UNDER_MASK:
        return difference(given[case.mask], expected[case.mask])
    return difference(given, as_tensor(expected, dtype=float64))


def _end_to_end(expected: Any) -> Any:
    """Rows one after another where a case lists them, because they may have unequal lengths."""
    rows = isinstance(expected, list) and expected and isinstance(expected[0], list)
    return list(chain.from_iterable(expected)) if rows else expected


def difference(given: Tensor, expected: Tensor) -> float:
    """Largest ``|given - expected| / max(1, |expected|)``.

    Infinity where the shapes differ, or where a NaN or infinity is not the same on both sides.
    """
    if given.shape != expected.shape:
        return math.inf
    given, expected = given.double(), expected.double()
    same = (given == expected) | (given.isnan() & expected.isnan())
    scaled = (given - expected).abs() / expected.abs().clamp(min=1)
    scaled = scaled.masked_fill(~(given.isfinite() & expected.isfinite()), math.inf)
    return max(scaled.masked_fill(same, 0.0).flatten().tolist(), default=0.0)
