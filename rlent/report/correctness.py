"""Which completions are called correct."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from numpy import ndarray

from rlent.report.trace import Trace


@dataclass(frozen=True, kw_only=True, slots=True)
class Correctness:
    """A completion that could not be scored (NaN) is neither correct nor wrong."""

    rule: str
    """In words, as the page says it."""
    correct: Bool[ndarray, " n"]
    wrong: Bool[ndarray, " n"]


def correctness(trace: Trace) -> Correctness:
    """Correct means that the recipe's first reward function gave more than 0; without any, that the reward is."""
    if not trace.parts:
        return _above_zero("reward", trace.reward)
    name, values = next(iter(trace.parts.items()))
    return _above_zero(name, values)


def _above_zero(name: str, values: Float[ndarray, " n"]) -> Correctness:
    return Correctness(rule=f"{name} above 0", correct=values > 0, wrong=values <= 0)
