"""A likelihood term on correct completions.

Su et al., "Klear-Reasoner", arXiv 2508.07629, Eq. 13-14 (printed with pi in place of log pi; the released code and this
file use log pi); also in the released scripts of CE-GPPO (arXiv 2509.20712), whose paper does not mention it::

    L = L_policy + weight * ( - sum_{correct, t} log pi_t / N_correct )        weight 0.1

``N_correct`` counts the tokens of correct completions in the whole generation batch of all ranks, so that the split
into micro-batches does not matter; the released code averages inside each micro-batch. Recipe::

    interventions:
      - positive_likelihood: {weight: 0.1}
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.types import Rollouts, Selection, Signal, Tokens


@dataclass(frozen=True, kw_only=True)
class PositiveLikelihood(Intervention):
    """Add ``weight`` times the mean negative log-likelihood of the tokens of correct completions."""

    name: ClassVar[str] = "positive_likelihood"
    paper: ClassVar[str] = "Klear-Reasoner, arXiv 2508.07629"
    writes: ClassVar[frozenset[str]] = frozenset({"penalty"})

    weight: float = 0.1
    """Factor of the term (the paper's alpha; 0.05 and 0.2 did worse in its ablation)."""
    correct: float = 0.5
    """A completion with a reward above this is correct."""

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"weight must not be negative, got {self.weight}")

    @classmethod
    def neutral(cls) -> "PositiveLikelihood":
        return cls(weight=0.0)

    def build(self) -> "PositiveLikelihoodStages":
        return PositiveLikelihoodStages(self)


class PositiveLikelihoodStages:
    """Carries the share of tokens in correct completions from the generation batch to its micro-batches."""

    def __init__(self, config: PositiveLikelihood) -> None:
        self._config = config
        self._tokens_per_correct_token: dict[bool, Tensor] = {}
        """By whether it is a training batch: an evaluation may come before a batch has been learnt from."""

    def on_select(self, rollouts: Rollouts, selection: Selection) -> tuple[Selection, Metrics]:
        correct = rollouts.mask & self._correct(rollouts.reward)
        total, right = (rollouts.reduce.sum(part.sum()) for part in (rollouts.mask, correct))
        self._tokens_per_correct_token[rollouts.train] = total.double() / right.clamp(min=1)
        return selection, {"correct_tokens": Mean(correct.sum(), rollouts.mask.sum())}

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        correct = tokens.mask & self._correct(tokens.reward)
        surprise = -fill(tokens.logp, correct)
        metrics = {"nll": Mean(surprise.detach().sum(), correct.sum())}
        if self._config.weight == 0:
            return signal, metrics
        # The objective divides by all tokens, this term by those of correct completions.
        scale = self._tokens_per_correct_token[tokens.train]
        term = self._config.weight * scale * surprise
        return replace(signal, penalty=signal.penalty + term), metrics

    def _correct(self, reward: Tensor) -> Tensor:
        return (reward > self._config.correct).unsqueeze(1)
