"""The clipped surrogate of a sequence's ratio.

Zheng et al., "Group Sequence Policy Optimization", arXiv 2507.18071, Eq. 5 and 7::

    loss_i = -min(s_i A_i, clip(s_i, low, high) A_i)        s_i = exp( mean_t (logp_t - old_logp_t) )

A sequence is clipped as a whole. Written here in the paper's token form, GSPO-token, as verl has it::

    loss_t = -min(s_t A_t, clip(s_t, low, high) A_t)        s_t = sg(s_i) exp(logp_t - sg(logp_t))

Value and gradient are the above where all tokens of a sequence have one advantage. Where interventions give each its
own, leave some out or weight them, a token's gradient has its own factors and no other token's; ``ppo`` at the level
``sequence`` (TRL's ``importance_sampling_level: sequence``) spreads them over the sequence, and is the same otherwise.

The paper averages over sequences (``loss_type: grpo``), with bounds of 1 - 3e-4 and 1 + 4e-4 as others state them;
averaged over sums of tokens (``loss_type: luspo``) it is LUSPO (arXiv 2602.05261). Checked against verl (``rlent
conformance``), which stops ``s`` at ``e^10`` with no gradient beyond: since ``s`` is clipped where ``A > 0``, that is
``dual_clip: 22026.5``. By default the coefficient stops at ``e^20``, and the gradient does not vanish. Recipe::

    trainer: {loss_type: grpo, surrogate: gspo, epsilon: 3.0e-4, epsilon_high: 4.0e-4}
"""

from dataclasses import dataclass
from typing import ClassVar

from rlent.numerics import log_ratio, unit
from rlent.surrogates.contract import (
    CLIP,
    KEEP,
    Level,
    PerToken,
    Sides,
    Surrogate,
    ratio_exponent,
    sides_at,
)
from rlent.surrogates.ppo import PPO, clipped_loss
from rlent.types import Signal, Tokens


@dataclass(frozen=True, kw_only=True)
class GSPO(Surrogate):
    """Clip the geometric mean of a sequence's ratios: ``-min(s A, clip(s) A)``."""

    name: ClassVar[str] = "gspo"
    paper: ClassVar[str] = "Group Sequence Policy Optimization, arXiv 2507.18071"
    reads: ClassVar[frozenset[str]] = CLIP | KEEP

    dual_clip: float | None = None
    """For ``A < 0`` the loss stops at this times ``|A|`` and sends no gradient beyond; verl's is ``e^10``."""

    @property
    def ratio_level(self) -> Level:
        return "sequence"

    def bounds(self, epsilon: float, epsilon_high: float | None) -> tuple[float, float]:
        return PPO().bounds(epsilon, epsilon_high)

    def check_bounds(self, low: float, high: float) -> None:
        PPO(dual_clip=self.dual_clip).check_bounds(low, high)

    def clipped(self, tokens: Tokens, signal: Signal) -> Sides:
        return sides_at(tokens, signal, "sequence")

    def __call__(self, tokens: Tokens, signal: Signal) -> PerToken:
        carrier = unit(log_ratio(tokens.logp, tokens.old_logp, tokens.mask))
        exponent = ratio_exponent(tokens, "sequence")
        return clipped_loss(tokens, signal, exponent, carrier, self.dual_clip)
