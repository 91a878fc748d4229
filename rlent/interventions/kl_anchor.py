"""A KL term that ties the tokens that learn to the reference policy.

Wu et al., "SPINE: Token-Selective Test-Time Reinforcement Learning with Entropy-Band Regularization",
arXiv 2511.17938, second version::

    L_KL = weight * sum_t m_t KL(pi || pi_ref)_t / N_sel

with ``m`` the tokens that learn, ``N_sel`` their number, and the KL divergence exact over the vocabulary (nats). The
paper's abstract names a KL anchor as an option; the formula is second-hand, from a third party's implementation of
"2511.17938v2 equations 2-21". Not verified:

* ``weight``: 0.01 is that third party's own choice.
* The reference policy, which here is the trainer's (the model that training started from).

What the four estimators do as a term of a loss, which is not what they do as measurements (``rlent/divergences.py``;
on tokens sampled from the current policy, with the tokens before them held fixed)::

    exact   KL(pi || pi_ref) at every position, and its gradient
    k1      expected gradient 0: noise, and no pull to the reference
    k2      expected gradient that of KL(pi || pi_ref)
    k3      expected gradient that of KL(pi_ref || pi), the other direction; TRL's ``beta`` term is this one

``exact`` costs the reference's logits, at the tokens that are selected when the micro-batch begins; the others use one
log-probability. ``trainer.beta`` is a term of its own, on all tokens, and adds to this one.

The objective averages penalties over all tokens. ``average: selected`` averages over the chosen tokens instead, with a
factor ``N_all / N_chosen`` for each completion, which does not depend on how the batch is split. Where completions
differ in the share of chosen tokens this weighs them by length, while one ``N_sel`` for several completions, as in the
formula, weighs them by chosen tokens. Recipe::

    interventions:
      - forking_otsu: {}
      - kl_anchor: {weight: 0.01}
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor

from rlent.divergences import k1, k2, k3
from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.types import Signal, Tokens

_ESTIMATORS = {"k1": k1, "k2": k2, "k3": k3}


@dataclass(frozen=True, kw_only=True)
class KLAnchor(Intervention):
    """Penalise the KL divergence from the reference policy on the tokens that learn."""

    name: ClassVar[str] = "kl_anchor"
    paper: ClassVar[str] = "SPINE, arXiv 2511.17938v2 (second-hand)"
    writes: ClassVar[frozenset[str]] = frozenset({"penalty"})
    reads: ClassVar[frozenset[str]] = frozenset({"select"})

    weight: float = 0.01
    """Loss per nat. Unverified."""
    estimator: Literal["exact", "k1", "k2", "k3"] = "exact"
    """The divergence over the whole vocabulary, or an estimate from the sampled token."""
    tokens: Literal["selected", "all"] = "selected"
    """Tokens that are tied: those that learn, or all, which ``exact`` cannot."""
    average: Literal["selected", "all"] = "selected"
    """Tokens of a completion that the term is averaged over: the tied ones, or all of them."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.weight < math.inf:
            raise ValueError(f"weight must be 0 or positive, got {self.weight}")
        if self.estimator == "exact" and self.tokens == "all":
            raise ValueError(
                "tokens: all cannot have estimator: exact, which is computed at selected tokens only; use "
                "tokens: selected (without a selection these are all tokens), or estimator: k1, k2 or k3"
            )

    @classmethod
    def neutral(cls) -> "KLAnchor":
        return cls(weight=0.0)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"ref_kl" if self.estimator == "exact" else "ref_logp"})

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        chosen = signal.select & tokens.mask if self.tokens == "selected" else tokens.mask
        divergence = self._divergence(tokens, chosen)
        metrics = {"kl": Mean(divergence.detach().sum(), chosen.sum())}
        if self.weight == 0.0:
            return signal, metrics
        if self.average == "selected":
            divergence = divergence * _tokens_per_chosen_token(chosen, tokens)
        return replace(signal, penalty=signal.penalty + self.weight * divergence), metrics

    def _divergence(self, tokens: Tokens, chosen: Tensor) -> Tensor:
        """Nats at chosen tokens, 0 elsewhere."""
        if self.estimator == "exact":
            assert tokens.ref_kl is not None
            return fill(tokens.ref_kl, chosen)
        assert tokens.ref_logp is not None
        return _ESTIMATORS[self.estimator](tokens.logp, tokens.ref_logp, chosen)


def _tokens_per_chosen_token(chosen: Tensor, tokens: Tokens) -> Tensor:
    """``N_all / N_chosen`` of each completion [b 1]."""
    count = chosen.sum(-1, keepdim=True).clamp(min=1)
    return tokens.mask.sum(-1, keepdim=True).to(tokens.logp.dtype) / count
