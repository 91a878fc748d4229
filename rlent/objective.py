"""TRL's ``loss_type`` names as a surrogate and an aggregate, and the one expression that the trainer minimises."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from rlent.aggregate import AGGREGATES, Aggregate, Step
from rlent.numerics import fill
from rlent.surrogates import SURROGATES, Level, Surrogate
from rlent.types import Signal, Tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class LossType:
    """Names in ``SURROGATES`` and ``AGGREGATES``."""

    surrogate: str
    aggregate: str


LOSS_TYPES: dict[str, LossType] = {
    "grpo": LossType(surrogate="ppo", aggregate="sequence_mean"),
    "bnpo": LossType(surrogate="ppo", aggregate="token_mean"),
    "dr_grpo": LossType(surrogate="ppo", aggregate="constant"),
    "dapo": LossType(surrogate="ppo", aggregate="step_token_mean"),
    "luspo": LossType(surrogate="ppo", aggregate="sequence_sum"),
    "cispo": LossType(surrogate="cispo", aggregate="step_token_mean"),
    "sapo": LossType(surrogate="sapo", aggregate="sequence_mean"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """``sum select weight surrogate / Z(count) + sum penalty / Z(mask)``, as configured."""

    surrogate: Surrogate
    aggregate: Aggregate
    options: dict[str, Any]
    """Keyword arguments of the surrogate: ``level``, ``dual_clip``, SAPO's temperatures."""

    def __call__(
        self, tokens: Tokens, signal: Signal, counted: Step, everything: Step
    ) -> Float[Tensor, ""]:
        """Loss of one micro-batch.

        Args:
            counted: the optimiser step by the tokens that ``signal.count`` counts, for the policy term.
            everything: the optimiser step by all tokens, for the penalty.
        """
        learns = signal.select & tokens.mask
        policy = self.surrogate.function(tokens, signal, **self.options)
        policy = fill(policy * fill(signal.weight, learns), learns)
        penalty = fill(signal.penalty, tokens.mask)
        return self.aggregate(policy, signal.count & tokens.mask, counted) + self.aggregate(
            penalty, tokens.mask, everything
        )


def build_objective(
    loss_type: str,
    *,
    level: Level = "token",
    dual_clip: float | None = None,
    temperatures: tuple[float, float] = (1.0, 1.05),
) -> Objective:
    """The objective of a TRL loss type.

    Args:
        level: whose ratio is bounded.
        dual_clip: TRL's ``delta``; read by the clipped losses.
        temperatures: SAPO's, for positive and for other advantages.
    """
    names = LOSS_TYPES[loss_type]
    surrogate = names.surrogate
    options: dict[str, Any] = {"level": level}
    if surrogate == "ppo":
        options["dual_clip"] = dual_clip
    elif surrogate == "sapo":
        options["temperature_positive"], options["temperature_negative"] = temperatures
    return Objective(
        surrogate=SURROGATES[surrogate], aggregate=AGGREGATES[names.aggregate], options=options
    )
