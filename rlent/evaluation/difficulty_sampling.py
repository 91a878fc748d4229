"""Problems answered at the temperature and within the limit of their difficulty.

The greedy completion of a problem keeps to the limit alone: it has no temperature.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rlent.evaluation.difficulty import DIFFICULTY_SETTINGS, Difficulty
from rlent.rollout import Sampling


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnSettings:
    """What the completions of one problem are drawn under; all None where it is what the set says."""

    difficulty: Difficulty | None = None
    temperature: float | None = None
    """0 is greedy."""
    limit: int | None = None
    """Most tokens of a completion."""


def own_settings(label: Difficulty, length: int, *, greedy: bool) -> OwnSettings:
    """Those of a problem with this label, in a set of at most ``length`` tokens."""
    settings = DIFFICULTY_SETTINGS[label]
    return OwnSettings(
        difficulty=label,
        temperature=0.0 if greedy else settings.temperature,
        limit=settings.limit(length),
    )


def with_own(sampling: Sampling, problems: Sequence[OwnSettings], samples: int) -> Sampling:
    """For ``samples`` completions of each problem, in order; ``sampling`` itself where the set says it all."""
    each = [own for own in problems for _ in range(samples)]
    limits = tuple(own.limit for own in each if own.limit is not None)
    temperatures = tuple(own.temperature for own in each if own.temperature is not None)
    if not limits:
        return sampling
    if sampling.greedy:
        return replace(sampling, max_new_tokens=limits)
    return replace(sampling, max_new_tokens=limits, temperature=1.0, temperatures=temperatures)
