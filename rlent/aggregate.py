"""Loss per token -> scalar.

Every function takes ``values`` [b t], already 0 where nothing is to be added, and ``count`` [b t], the tokens that the
denominator counts. The sum over the micro-batches of an optimiser step is the step's loss. Except for ``token_mean``
no denominator depends on how the step is split into micro-batches of equally many rows.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

PerToken = Float[Tensor, "b t"]
Counted = Bool[Tensor, "b t"]
Scalar = Float[Tensor, ""]


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What a micro-batch must know of its optimiser step."""

    micro_batches: int
    """Micro-batches per optimiser step on this rank; 1 in evaluation."""
    tokens: Tensor
    """Tokens that the denominator counts in the step, summed over ranks and divided by their number (0-d)."""
    max_length: int
    """Longest completion that generation may give."""
    sequences: Tensor | None = None
    """Sequences that count in a micro-batch, averaged over the step's micro-batches and over ranks (0-d); None where
    all of them do."""

    def sequences_of(self, values: PerToken) -> Tensor | int:
        return len(values) if self.sequences is None else self.sequences.clamp(min=1)


def sequence_mean(values: PerToken, count: Counted, step: Step) -> Scalar:
    """Mean over sequences of the mean over tokens (arXiv 2402.03300, Eq. 3)."""
    per_sequence = values.sum(-1) / count.sum(-1).clamp(min=1)
    return per_sequence.sum() / step.sequences_of(values) / step.micro_batches


def sequence_sum(values: PerToken, count: Counted, step: Step) -> Scalar:
    """Mean over sequences of the sum over tokens (arXiv 2602.05261)."""
    return values.sum() / step.sequences_of(values) / step.micro_batches


def token_mean(values: PerToken, count: Counted, step: Step) -> Scalar:
    """Mean over the tokens of the micro-batch: the one that depends on the micro-batch split."""
    return values.sum() / count.sum().clamp(min=1) / step.micro_batches


def step_token_mean(values: PerToken, count: Counted, step: Step) -> Scalar:
    """Mean over the tokens of the whole optimiser step, all ranks (arXiv 2503.14476, Eq. 8)."""
    return values.sum() / step.tokens.clamp(min=1)


def constant(values: PerToken, count: Counted, step: Step) -> Scalar:
    """Sum over ``sequences * max_length``, which no completion changes (arXiv 2503.20783)."""
    return values.sum() / (step.sequences_of(values) * step.max_length) / step.micro_batches


Aggregate = Callable[[PerToken, Counted, Step], Scalar]

AGGREGATES: dict[str, Aggregate] = {
    "sequence_mean": sequence_mean,
    "sequence_sum": sequence_sum,
    "token_mean": token_mean,
    "step_token_mean": step_token_mean,
    "constant": constant,
}
