"""The errors a user can meet. Each says what is wrong, what was expected, and what to change."""

import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path


class RlentError(Exception):
    """Base of every error that rlent raises on purpose."""


class ConfigError(RlentError, ValueError):
    """Something in a recipe, its data or its files must be changed by the user.

    Args:
        problem: one sentence that says what is wrong.
        key: dotted path of the recipe key, such as ``trainer.learning_rate``.
        expected: what would have been accepted.
        given: what was found.
        choices: valid names, of which the nearest to ``given`` is suggested.
        remedy: the change to make, when it is more than using another value.
        where: ``file:line`` of the recipe, filled in where the recipe is known.
    """

    def __init__(
        self,
        problem: str,
        *,
        key: str | None = None,
        expected: str | None = None,
        given: object = None,
        choices: Iterable[str] = (),
        remedy: str | None = None,
        where: str | None = None,
    ) -> None:
        self.problem = problem
        self.key = key
        self.expected = expected
        self.given = given
        self.nearest = nearest_name(str(given), choices)
        self.remedy = remedy
        self.where = where
        super().__init__(problem)

    def __str__(self) -> str:
        head = ": ".join(part for part in (self.where, self.key, self.problem) if part)
        details = {
            "expected": self.expected,
            "given": None if self.given is None else repr(self.given),
            "did you mean": self.nearest,
            "change": self.remedy,
        }
        return "\n".join(
            [head, *(f"  {name}: {text}" for name, text in details.items() if text is not None)]
        )


class NonFiniteError(RlentError, ArithmeticError):
    """A loss or gradient is NaN or infinite.

    Args:
        step: the optimiser step that was not taken, counted from 1.
        losses: of this rank's micro-batches.
        norm: of the gradient, over all ranks.
        path: where this rank's rollouts of the step are.
    """

    def __init__(
        self, *, step: int, losses: Sequence[float], norm: float | None, path: Path
    ) -> None:
        self.step, self.losses, self.norm, self.path = step, tuple(losses), norm, path
        bad = [str(place) for place, loss in enumerate(losses) if not math.isfinite(loss)]
        where = (
            f"the loss of micro-batch {', '.join(bad)}" if bad else f"the gradient (norm {norm})"
        )
        super().__init__(
            f"step {step}: {where} is not finite; the run stops with the weights of the step before\n"
            f"  rollouts: {path}\n"
            "  change: look at them, lower trainer.learning_rate, or use engine.precision: float32; "
            "engine.non_finite: skip leaves such steps out and counts them"
        )


class RewardError(RlentError, ValueError):
    """A reward function gave what is no reward."""


class CheckpointError(RlentError, RuntimeError):
    """A checkpoint could not be written, or does not fit the run that is to go on from it."""


class ContractError(RlentError, RuntimeError):
    """The installed TRL does not have the private names that the trainer is built on."""


def nearest_name(given: str, choices: Iterable[str]) -> str | None:
    """The valid name closest to what was typed, or None when nothing is close."""
    matches = get_close_matches(given, list(choices), n=1, cutoff=0.6)
    return matches[0] if matches else None
