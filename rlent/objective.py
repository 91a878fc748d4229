"""TRL's ``loss_type`` names as a surrogate and an aggregate, and the one expression that the trainer minimises."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.aggregate import AGGREGATES, Aggregate, Step
from rlent.numerics import fill
from rlent.surrogates import SURROGATES, Surrogate
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
    "vespo": LossType(surrogate="vespo", aggregate="step_token_mean"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """``sum select weight surrogate / Z(count) + sum penalty / Z(mask)``, as configured."""

    surrogate: Surrogate
    aggregate: Aggregate

    def __call__(
        self, tokens: Tokens, signal: Signal, counted: Step, everything: Step
    ) -> Float[Tensor, ""]:
        """Loss of one micro-batch.

        Args:
            counted: the optimiser step by the tokens that ``signal.count`` counts, for the policy term.
            everything: the optimiser step by all tokens, for the penalty.
        """
        learns = signal.select & tokens.mask
        policy = self.surrogate(tokens, signal)
        policy = fill(policy * fill(signal.weight, learns), learns)
        penalty = fill(signal.penalty, tokens.mask)
        return self.aggregate(policy, signal.count & tokens.mask, counted) + self.aggregate(
            penalty, tokens.mask, everything
        )

    def per_completion(self, tokens: Tokens, everything: Step) -> Float[Tensor, "b t"]:
        """Factors ``c_i`` of completions, at each of their tokens, 0 elsewhere::

            penalty_t = c_i x_i at every token of completion i    adds    sum_i x_i / (N micro_batches)

        with ``N`` the sequences that ``sequence_mean`` counts. An aggregate is linear: what a token's value adds to it
        is its gradient. A completion without tokens adds nothing.
        """
        with torch.enable_grad():
            values = torch.zeros_like(tokens.logp, requires_grad=True)
            total = self.aggregate(values, tokens.mask, everything)
            (share,) = torch.autograd.grad(total, values)
        of_completion = fill(share, tokens.mask).sum(-1, keepdim=True)
        completions = everything.sequences_of(values) * everything.micro_batches
        return fill((1 / (of_completion * completions)).expand_as(values), tokens.mask)


def build_objective(loss_type: str, surrogate: Surrogate | None = None) -> Objective:
    """The average of a TRL loss type, of its own surrogate with that one's defaults or of another."""
    names = LOSS_TYPES[loss_type]
    if surrogate is None:
        surrogate = SURROGATES[names.surrogate]()
    return Objective(surrogate=surrogate, aggregate=AGGREGATES[names.aggregate])
