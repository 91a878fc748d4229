"""Next-token prediction as policy gradient, with its reward shaped towards precision or diversity.

"Diversity or Precision? A Deep Dive into Next Token Prediction", arXiv 2512.22955. At a token x of the text, with the
policy pi and the set K of its k most probable tokens, the reward of each token a is (Eq. 11 to 13, ``sg`` stops the
gradient)::

    r(x) = sg( (1 - pi_x)^beta / pi_x )
    r(a) = lambda_head   for a in K, a != x
    r(a) = lambda_tail   for a not in K, a != x

and the update ``E_{a ~ pi}[ r(a) grad log pi_a ]`` is exact, because ``pi_a grad log pi_a = grad pi_a``: the loss is
::

    l = -[ sg((1 - pi_x)^beta) log pi_x + lambda_head sum_{a in K, a != x} pi_a + lambda_tail sum_{other a} pi_a ]

so that 1/pi never appears. ``beta = 0`` with both lambdas 0 is cross-entropy (Eq. 10). ``beta < 0`` gives confident
tokens more weight (precision, lower entropy), ``beta > 0`` less, as a focal loss does (diversity).

**Second-hand**: the paper was not read, and no code of it was found. The equations and settings are those of one
detailed account; that the loss is a mean over tokens is an inference, and the bound on ``1 - pi_x``, which a negative
beta needs, is rlent's. Settings it names, for pre-training at a learning rate of 3e-4: beta -0.25, 0 or 0.5 with both
lambdas 0; ``tail: -0.1`` with k = 100; ``head: 0.1`` with k = 100. Recipe::

    loss: {diversity_or_precision: {beta: -0.25}}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.interventions.stages import Mean
from rlent.losses.contract import Answers, CompletionLoss, Head, TokenLosses
from rlent.numerics import fill
from rlent_kernels import FixedHead, top_mass

MASS = "head_mass"


@dataclass(frozen=True, kw_only=True)
class DiversityOrPrecision(CompletionLoss):
    """Cross-entropy whose reward for the token, and for the others by their rank, is shaped."""

    name: ClassVar[str] = "diversity_or_precision"
    paper: ClassVar[str] = "Diversity or Precision?, arXiv 2512.22955 (second-hand)"
    average: ClassVar[Literal["tokens"]] = "tokens"

    beta: float = 0.0
    """Exponent of ``1 - pi_x``: negative for precision, positive for diversity; 0 is cross-entropy's reward."""
    head: float = 0.0
    """Reward of the ``k`` most probable tokens beside the right one."""
    tail: float = 0.0
    """Reward of all other tokens; the paper's is negative."""
    k: int = 100
    """How many tokens are the head; only with ``head`` or ``tail``."""
    smallest: float = 1e-6
    """Least ``1 - pi_x``, which bounds the weight; only with a negative ``beta``. Not the paper's."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")
        if not self.in_head and self.k != DiversityOrPrecision.k:
            raise ValueError(f"k has no effect without head or tail, got {self.k}: remove it")
        if not 0 < self.smallest < 1:
            raise ValueError(f"smallest must be between 0 and 1, got {self.smallest}")
        if self.beta >= 0 and self.smallest != DiversityOrPrecision.smallest:
            raise ValueError(
                f"smallest has no effect unless beta is negative, got {self.smallest}: remove it"
            )

    @property
    def in_head(self) -> bool:
        return self.head != 0 or self.tail != 0

    def measure(self, head: Head, fixed: Mapping[str, FixedHead]) -> dict[str, Tensor]:
        """Probability of the ``k`` most probable tokens beside the right one."""
        mass = top_mass(
            head.hidden, head.weight, head.targets, self.k, bias=head.bias, **head.transform
        )
        return {MASS: mass}

    def per_token(self, answers: Answers) -> TokenLosses:
        logp, mask = fill(answers.logp, answers.mask), answers.mask
        weight = positive_weight(logp, self.beta, self.smallest)
        losses = -weight * logp
        metrics = {"logps": Mean(logp.detach().sum(), len(logp))}
        metrics[f"{self.name}/weight"] = Mean(fill(weight, mask).sum(), mask.sum())
        if self.in_head:
            mass = fill(answers.measured[MASS], mask)
            losses = losses - negative_reward(logp, mass, head=self.head, tail=self.tail)
            metrics[f"{self.name}/head_mass"] = Mean(mass.detach().sum(), mask.sum())
        return TokenLosses(losses=losses, metrics=metrics)


def positive_weight(
    logp: Float[Tensor, "b t"], beta: float, smallest: float
) -> Float[Tensor, "b t"]:
    """``sg((1 - pi_x)^beta)``, with ``1 - pi_x`` at least ``smallest`` for a negative beta."""
    if beta == 0:
        return torch.ones_like(logp)
    left = -torch.expm1(logp.detach())
    return (left.clamp(min=smallest) if beta < 0 else left) ** beta


def negative_reward(
    logp: Float[Tensor, "b t"], mass: Float[Tensor, "b t"], *, head: float, tail: float
) -> Float[Tensor, "b t"]:
    """``head * mass + tail * (1 - pi_x - mass)``, with gradient.

    Args:
        mass: probability of the most probable tokens beside the right one.
    """
    return head * mass + tail * (-torch.expm1(logp) - mass)
