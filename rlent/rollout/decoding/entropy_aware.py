"""Entropy-aware sampling: greedy, and random where the model is less sure than it is on human text.

Arora et al., "The Stable Entropy Hypothesis and Entropy-Aware Decoding", arXiv 2302.06784, Algorithm 1. With ``mu``
and ``sigma`` the mean and standard deviation of the model's entropy over human continuations, at the t-th token
(t = 1, 2, ...)::

    w_t ~ S                if t > g and H_t > mu + alpha * sigma
    w_t = argmax p         otherwise

Defaults are the paper's: alpha 0.5, g 5, S typical sampling with mass 0.2; the other S of the paper is
``{typical_p: 1, top_k: 30}``. ``alpha: .inf`` is greedy decoding; ``alpha: -.inf`` with ``greedy_steps: 0`` is S.

Read: the paper's sections 2 to 4. Its released scripts name switches for a lower bound and a patience; the loop behind
them is in no public place, and they are not here. The entropy is that of the sampling temperature; at which temperature
the paper takes it is unverified. ``mean`` and ``std`` depend on model and text and have no default: ``rlent eval``
writes the entropies of sampled text, those of human text have to be measured on it.

Recipe::

    evaluation: {samples: 8, decoding: {entropy_aware: {mean: 2.3, std: 0.6}}}
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlent.rollout.decoding.rule import DecodingRule, refuse_twice
from rlent.rollout.sampling import Sampling, Step, truncated


@dataclass(frozen=True, kw_only=True)
class EntropyAware(DecodingRule):
    """Draw only where the entropy is above the zone of human text."""

    name: ClassVar[str] = "entropy_aware"
    paper: ClassVar[str] = "The Stable Entropy Hypothesis, arXiv 2302.06784, Algorithm 1"

    mean: float
    """Mean entropy of the model over human text, in nats."""
    std: float
    """Its standard deviation, more than 0."""
    alpha: float = 0.5
    """Standard deviations above the mean at which drawing begins."""
    greedy_steps: int = 5
    """First tokens that are greedy in any case."""
    typical_p: float = 0.2
    """Mass of the tokens that are drawn from, as in `typical`; 1 keeps all."""
    top_k: int = 0
    """Number of most probable tokens that are drawn from; 0 keeps all."""

    def __post_init__(self) -> None:
        if self.std <= 0:
            raise ValueError(f"std must be more than 0, got {self.std:g}")
        if self.greedy_steps < 0:
            raise ValueError(f"greedy_steps must not be negative, got {self.greedy_steps}")
        if not 0 < self.typical_p <= 1:
            raise ValueError(f"typical_p must be in (0, 1], got {self.typical_p:g}")
        if self.top_k < 0:
            raise ValueError(f"top_k must not be negative, got {self.top_k}")

    def check(self, sampling: Sampling) -> None:
        DecodingRule.check(self, sampling)
        for name in ("typical_p", "top_k"):
            refuse_twice(self, sampling, name)

    def __call__(self, step: Step) -> Float[Tensor, "b v"]:
        sampling = replace(step.sampling, typical_p=self.typical_p, top_k=self.top_k)
        drawn = truncated(step.scores, sampling).log_softmax(-1)
        certain = torch.full_like(drawn, -torch.inf)
        certain.scatter_(1, step.scores.argmax(-1, keepdim=True), 0.0)
        return torch.where(self.draws(step).unsqueeze(1), drawn, certain)

    def draws(self, step: Step) -> Bool[Tensor, " b"]:
        """Where the token is drawn."""
        uncertain = step.entropies > self.mean + self.alpha * self.std
        return uncertain & (step.positions >= self.greedy_steps)
