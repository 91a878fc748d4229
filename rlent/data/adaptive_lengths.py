"""Solutions for a cold start that are the longer, the harder the problem is for the model.

Chen et al., "ARES: Multimodal Adaptive Reasoning via Difficulty-Aware Token-Level Entropy Shaping", arXiv 2510.08457
(AdaCS). With ``p`` the share of a model's completions that solve a problem, and ``L(0)`` and ``L(1)`` the median
lengths of the solutions at pass rates 0 and 1 (tokens)::

    L(p) = (1 - p) L(0) + p L(1)

How the paper takes solutions by this target was not found in the text that was read. Here, of each problem's solutions
the one whose length is nearest is taken, the first of equals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from rlent.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Solution:
    """One written solution of a problem."""

    problem: str
    """Equal for the solutions of one problem."""
    pass_rate: float
    """Of the problem, in 0..1."""
    length: int
    """Tokens."""


def target_length(pass_rate: float, *, hardest: float, easiest: float) -> float:
    """``(1 - p) L(0) + p L(1)`` in tokens.

    Raises:
        ValueError: the pass rate is not in 0..1.
    """
    if not 0.0 <= pass_rate <= 1.0:
        raise ValueError(f"a pass rate must be in [0, 1], got {pass_rate}")
    return (1 - pass_rate) * hardest + pass_rate * easiest


def median_lengths(solutions: Sequence[Solution]) -> tuple[float, float]:
    """``L(0)`` and ``L(1)``: median lengths of the solutions at pass rates 0 and 1.

    Raises:
        ConfigError: there is no solution at one of the two.
    """
    ends = []
    for rate, option in ((0.0, "--hardest"), (1.0, "--easiest")):
        lengths = [each.length for each in solutions if each.pass_rate == rate]
        if not lengths:
            raise ConfigError(
                f"no solution has a pass rate of {rate:g}, whose median length is one end of the target",
                remedy=f"give that length with {option}",
            )
        ends.append(float(median(lengths)))
    hardest, easiest = ends
    return hardest, easiest


def nearest_to_target(
    solutions: Sequence[Solution], *, hardest: float, easiest: float
) -> list[int]:
    """Places of the solutions that are taken, one for each problem, in the order of the problems' first ones."""
    best: dict[str, tuple[float, int]] = {}
    for place, each in enumerate(solutions):
        target = target_length(each.pass_rate, hardest=hardest, easiest=easiest)
        distance = abs(each.length - target)
        if each.problem not in best or distance < best[each.problem][0]:
            best[each.problem] = (distance, place)
    return [place for _, place in best.values()]
