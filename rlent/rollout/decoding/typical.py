"""Locally typical sampling.

Meister et al., "Locally Typical Sampling", arXiv 2202.00666. With ``H = -sum p log p`` of the distribution after
temperature, tokens are taken in the order of ``|-log p - H|`` until they hold ``mass``, and one of them is drawn::

    keep = {v : |-log p_v - H| <= d},   d = the smallest distance whose tokens together hold at least mass

Read: the authors' released warper (golden cases ``typical``). A mass of 1 keeps every token. The recommended masses
(0.2 for stories, 0.95 for summaries) are from memory and unverified; 0.2 is confirmed for text completion by
arXiv 2302.06784. The released class's default is 0.9.

Recipe::

    rollout: {decoding: {typical: {mass: 0.95}}}
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from rlent.rollout.decoding.rule import DecodingRule, refuse_twice
from rlent.rollout.sampling import Sampling, Step, truncated


@dataclass(frozen=True, kw_only=True)
class Typical(DecodingRule):
    """Draw among the tokens whose surprisal is nearest to the entropy."""

    name: ClassVar[str] = "typical"
    paper: ClassVar[str] = "Locally Typical Sampling, arXiv 2202.00666"

    mass: float = 0.9
    """Probability that the kept tokens hold together, in (0, 1]; 1 keeps all."""

    def __post_init__(self) -> None:
        if not 0 < self.mass <= 1:
            raise ValueError(f"mass must be in (0, 1], got {self.mass:g}")

    def check(self, sampling: Sampling) -> None:
        DecodingRule.check(self, sampling)
        refuse_twice(self, sampling, "typical_p")

    def __call__(self, step: Step) -> Float[Tensor, "b v"]:
        sampling = replace(step.sampling, typical_p=self.mass)
        return truncated(step.scores, sampling).log_softmax(-1)
