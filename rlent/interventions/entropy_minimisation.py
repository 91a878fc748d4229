"""Entropy as the whole loss: no reward, no advantage.

Gao et al., "One-shot Entropy Minimization", arXiv 2505.20282::

    L = sum_t H_t / N_tok

with ``H_t`` the entropy of the distribution that token ``t`` was drawn from, under the current policy (nats, sampling
temperature, full vocabulary), which carries gradient. Completions are samples and have no score function: no token
learns by its advantage. ``rent`` makes the same quantity a reward instead.

Read in the released code (``tests/golden/cases``); of the paper, the abstract and second-hand accounts. Its settings
are in ``recipes/entropy_minimisation``: a single prompt, repeated, samples and loss at temperature 0.5 with top-p 0.95
and a repetition penalty of 1.15, which shape the samples and not the loss, a learning rate of 2e-5, and the best
results at about the tenth update. ``rlent select`` finds the prompt: the paper's is the one whose pass@k varies most.

The released code reads the distributions one place too late::

    L = sum_t H_{t+1} / N_tok

so that the one that the first token was drawn from is left out, and the one behind the last token, from which nothing
is drawn, is in the loss. ``as_released: true`` does so too; it costs one more row of the head for each completion. With
prompts of unequal length the code also takes some places inside prompts for tokens, which a single prompt never shows
and rlent does not do. It averages over each micro-batch, which is ``trainer.loss_type: bnpo``; the other loss types
average as they do everything. Recipe::

    interventions:
      - entropy_minimisation
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.distributions import Statistic
from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.types import Rollouts, Selection, Signal, Tokens

_BEHIND = Statistic("next_entropy")


@dataclass(frozen=True, kw_only=True)
class EntropyMinimisation(Intervention):
    """Replace the loss by ``weight`` times the mean entropy of the tokens."""

    name: ClassVar[str] = "entropy_minimisation"
    paper: ClassVar[str] = "One-shot Entropy Minimization, arXiv 2505.20282"
    writes: ClassVar[frozenset[str]] = frozenset({"reward", "select", "penalty"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"reward", "select"})

    weight: float = 1.0
    """Loss per nat; 0 leaves the policy's loss as it is."""
    as_released: bool = False
    """The released code: at every token, the entropy of the distribution behind it."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.weight < math.inf:
            raise ValueError(f"weight must be 0 or positive, got {self.weight}")

    @classmethod
    def neutral(cls) -> "EntropyMinimisation":
        return cls(weight=0.0)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"statistics" if self.as_released else "entropy_grad"})

    @property
    def statistics(self) -> frozenset[Statistic]:
        return frozenset({_BEHIND} if self.as_released else ())

    def on_rewards(self, rollouts: Rollouts) -> tuple[Float[Tensor, " n"], Metrics]:
        """Rewards of 0. What listed rewards say is logged under their names."""
        reward = rollouts.reward if self.weight == 0 else torch.zeros_like(rollouts.reward)
        return reward, {}

    def on_select(self, rollouts: Rollouts, selection: Selection) -> tuple[Selection, Metrics]:
        """No token learns by its advantage."""
        if self.weight == 0:
            return selection, {}
        return replace(selection, select=torch.zeros_like(selection.select)), {}

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        read = tokens.statistics[_BEHIND] if self.as_released else tokens.entropy
        entropy = fill(read, tokens.mask)
        metrics = {"entropy": Mean(entropy.detach().sum(), tokens.mask.sum())}
        if self.weight == 0:
            return signal, metrics
        return replace(signal, penalty=signal.penalty + self.weight * entropy), metrics
