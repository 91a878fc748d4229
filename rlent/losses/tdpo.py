"""Token-level Direct Preference Optimization: DPO with a margin of exact forward divergences.

Zeng et al., "Token-level Direct Preference Optimization", arXiv 2404.11999 (ICML 2024)::

    u      = beta [log pi/pi_ref](y_w) - beta [log pi/pi_ref](y_l)
    D(y)   = sum_t KL( pi_ref(.|s_t) || pi(.|s_t) )          over the tokens of y, whole vocabulary
    TDPO1:   -log sigmoid( u - beta [D(y_l) - D(y_w)] )                       gradient through both
    TDPO2:   -log sigmoid( u - alpha beta [D(y_l) - sg(D(y_w))] )             gradient through the rejected one

Read in the released code (``trainers.py``) and the figure of the loss on its front page, which agree; the paper's
text was not. With ``alpha: 0`` TDPO2 is DPO, and no divergence is computed. Released settings: beta 0.1, alpha 0.5,
RMSprop, learning rate 5e-6, 64 pairs. The released front page advises TDPO1 at low learning rates.

The reference's log-probabilities come from ``log_softmax``, where the released ``softmax().log()`` gives NaN once a
probability underflows. Recipe::

    loss: {tdpo: {variant: 2, alpha: 0.5}}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from rlent.interventions.stages import Mean
from rlent.losses.contract import REFERENCE, Answers, Head, PairLosses, PreferenceLoss
from rlent.numerics import fill
from rlent_kernels import FixedHead, token_kl

REF_KL = "ref_kl"


@dataclass(frozen=True, kw_only=True)
class TDPO(PreferenceLoss):
    """DPO whose margin counts how far the policy has gone from the reference at every token."""

    name: ClassVar[str] = "tdpo"
    paper: ClassVar[str] = "Token-level Direct Preference Optimization, arXiv 2404.11999"

    variant: Literal[1, 2] = 2
    """Which of the two losses; the released function's default, where the released configuration says 1."""
    alpha: float = 0.5
    """Weight of the divergences in TDPO2; 0 is DPO. TDPO1 has no such weight."""
    beta: float = 0.1
    """Scale of the implied reward, positive."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be positive, got {self.beta}")
        if self.alpha < 0:
            raise ValueError(f"alpha must not be negative, got {self.alpha}")
        if self.variant == 1 and self.alpha != TDPO.alpha:
            raise ValueError(f"alpha has no effect on variant 1, got {self.alpha}: remove it")

    @property
    def in_head(self) -> bool:
        return self.variant == 1 or self.alpha > 0

    @property
    def measures_against(self) -> frozenset[str]:
        return frozenset({REFERENCE}) if self.in_head else frozenset()

    def measure(self, head: Head, fixed: Mapping[str, FixedHead]) -> dict[str, Tensor]:
        """``KL(pi_ref || pi)`` at every token of the answers."""
        reference = fixed[REFERENCE]
        divergence = token_kl(
            head.hidden,
            head.weight,
            reference.hidden,
            reference.weight,
            head.rows,
            direction="forward",
            bias=head.bias,
            ref_bias=reference.bias,
            **head.transform,
        )
        return {REF_KL: divergence}

    def per_pair(self, chosen: Answers, rejected: Answers) -> PairLosses:
        margins = [answers.log_ratio.sum(1) for answers in (chosen, rejected)]
        divergences = [self._divergence(answers) for answers in (chosen, rejected)]
        losses = tdpo_loss(*margins, *divergences, beta=self.beta, weight=self._weight)
        rewards = [
            self.beta * (margin + divergence).detach()
            for margin, divergence in zip(margins, divergences, strict=True)
        ]
        metrics = {
            f"{self.name}/kl_{side}": Mean(divergence.detach().sum(), answers.mask.sum())
            for side, divergence, answers in zip(
                ("chosen", "rejected"), divergences, (chosen, rejected), strict=True
            )
        }
        return PairLosses(
            losses=losses,
            chosen_reward=rewards[0],
            rejected_reward=rewards[1],
            metrics=metrics if self.in_head else {},
        )

    @property
    def _weight(self) -> float | None:
        return None if self.variant == 1 else self.alpha

    def _divergence(self, answers: Answers) -> Tensor:
        if not self.in_head:
            return answers.logp.new_zeros(len(answers.logp))
        return fill(answers.measured[REF_KL], answers.mask).sum(1)


def tdpo_loss(
    chosen_margin: Float[Tensor, " b"],
    rejected_margin: Float[Tensor, " b"],
    chosen_kl: Float[Tensor, " b"],
    rejected_kl: Float[Tensor, " b"],
    *,
    beta: float,
    weight: float | None,
) -> Float[Tensor, " b"]:
    """Loss of each pair: TDPO1 where ``weight`` is None, else TDPO2 with ``alpha = weight``.

    Args:
        chosen_margin: ``sum_t log pi/pi_ref`` of the preferred answer.
        chosen_kl: ``sum_t KL(pi_ref || pi)`` of the preferred answer, in nats.
    """
    apart = rejected_kl - (chosen_kl if weight is None else chosen_kl.detach())
    push = apart if weight is None else weight * apart
    return -logsigmoid(beta * (chosen_margin - rejected_margin - push))
