"""A bonus on entropy: the loss falls by ``weight`` for every nat.

Williams and Peng, "Function Optimization Using Connectionist Reinforcement Learning Algorithms" (1991); in this form
Mnih et al., "Asynchronous Methods for Deep Reinforcement Learning", arXiv 1602.01783, Sec. 4::

    L = L_policy - weight * sum_t H_t / N_tok

with ``H_t`` the entropy under the current policy (nats, full vocabulary, sampling temperature), which carries gradient.
A bonus raises the entropy of every token, also where nothing is to be explored, and a weight that suits the start of
training does not suit its end: arXiv 2505.22617 is said to have found 0.0001 to do nothing and 0.01 to make entropy
explode. ``adaptive_entropy`` moves the weight.

The gradient is the released one of EPO (arXiv 2509.22576, ``rlent conformance``): what its code adds to the bonus, a
penalty on entropies outside a band around their history, is a constant without gradient. TRL's ``entropy_coef``
averages over the tokens that learn in each micro-batch, whatever the loss type; here the average is the loss type's,
over all tokens. Recipe::

    interventions:
      - entropy_bonus: {weight: 0.001}
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from jaxtyping import Bool
from torch import Tensor

from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.types import Signal, Tokens

Acted = Literal["all", "selected"]
"""All tokens, or those that learn."""


@dataclass(frozen=True, kw_only=True)
class EntropyBonus(Intervention):
    """Subtract ``weight`` times the mean entropy from the loss."""

    name: ClassVar[str] = "entropy_bonus"
    paper: ClassVar[str] = "A3C, arXiv 1602.01783"
    writes: ClassVar[frozenset[str]] = frozenset({"penalty"})
    reads: ClassVar[frozenset[str]] = frozenset({"select"})
    in_place_of: ClassVar[frozenset[str]] = frozenset({"entropy_coef"})

    weight: float = 0.001
    """Loss per nat; the default is what verl once had for all of its users."""
    tokens: Acted = "all"
    """Tokens whose entropy is raised: all, or those that learn. The average is over all either way."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.weight < math.inf:
            raise ValueError(f"weight must be 0 or positive, got {self.weight}")

    @classmethod
    def neutral(cls) -> "EntropyBonus":
        return cls(weight=0.0)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"entropy_grad"})

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        chosen = acted_on(tokens, signal, self.tokens)
        return with_bonus(tokens, signal, chosen, self.weight), {
            "entropy": Mean(fill(tokens.entropy.detach(), chosen).sum(), chosen.sum())
        }


def acted_on(tokens: Tokens, signal: Signal, which: Acted) -> Bool[Tensor, "b t"]:
    return tokens.mask if which == "all" else signal.select & tokens.mask


def with_bonus(
    tokens: Tokens, signal: Signal, chosen: Bool[Tensor, "b t"], weight: float
) -> Signal:
    """The signal with ``weight`` off the loss for every nat of the chosen tokens; itself for a weight of 0."""
    if weight == 0.0:
        return signal
    return replace(signal, penalty=signal.penalty - weight * fill(tokens.entropy, chosen))
