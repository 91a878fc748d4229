"""No ratio and no clip: the log-probability, held back by the square of how far it has moved.

Richemond et al., "Offline Regularised Reinforcement Learning for Large Language Models Alignment", arXiv 2405.19107
(direct reward optimisation), in the form of verl's ``dro``, token by token::

    loss_t = -(A_t logp_t - beta / 2 (logp_t - old_logp_t)^2)

The paper regresses ``A - beta log(pi / pi_ref)`` to 0 over whole completions and learns the value in ``A``; its
gradient over ``beta`` has this form. Here ``A`` is the group's advantage, and the generating policy stands for the
reference. Checked against verl (``rlent conformance``); of the paper, the abstract was read. Neither gives a ``beta``
for this form, and 0.1 is another implementation's default.

The square pulls also on tokens whose advantage is 0, so rollouts without an advantage are trained on. Recipe::

    trainer: {loss_type: dapo, surrogate: {dro: {beta: 0.1}}}
"""

from dataclasses import dataclass
from typing import ClassVar

from rlent.numerics import fill
from rlent.surrogates.contract import PerToken, Surrogate, ratio_exponent
from rlent.types import Signal, Tokens


@dataclass(frozen=True, kw_only=True)
class DRO(Surrogate):
    """Hold the log-probability back by a square: ``-(A logp - beta / 2 (log r)^2)``."""

    name: ClassVar[str] = "dro"
    paper: ClassVar[str] = "Offline Regularised Reinforcement Learning, arXiv 2405.19107"
    learns_without_advantage: ClassVar[bool] = True

    beta: float = 0.1
    """Factor of the square; 0 is the plain policy gradient without a ratio."""

    def __post_init__(self) -> None:
        if self.beta < 0:
            raise ValueError(f"beta must not be negative, got {self.beta}")

    def __call__(self, tokens: Tokens, signal: Signal) -> PerToken:
        moved = ratio_exponent(tokens, "token")
        gain = signal.advantage * fill(tokens.logp, tokens.mask)
        return fill(self.beta / 2 * moved.square() - gain, tokens.mask)
