"""Policy gradients on forking tokens, with one entropy threshold for each completion.

Wu et al., "SPINE: Token-Selective Test-Time Reinforcement Learning with Entropy-Band Regularization",
arXiv 2511.17938, second version::

    m_t = 1[H_t >= tau],   tau = centre of the bin k that maximises w0 w1 (mu0 - mu1)^2

for one completion at a time: a histogram of its token entropies ``H_t`` (nats) in 100 equal bins between their minimum
and maximum, ``w0`` and ``mu0`` the share and the mean (of bin centres) of bins up to ``k``, ``w1`` and ``mu1`` those of
the bins above (Otsu 1979). How many tokens are kept follows from the entropies. No gradient flows through ``H_t``.

All of it is second-hand. The body of the paper and the authors' code could not be read; the rule is that of a third
party's implementation of "2511.17938v2 equations 2-21". It is not known whether the paper says the same about:

* Range of the histogram; the first maximum where several are equal; bin ``k`` belongs to the lower class, and yet its
  tokens at or above its centre are kept.
* Equal entropies have no threshold: all tokens of the completion are kept.
* Whose entropy. The third party takes the current policy's; the default here is the generating policy's, which is the
  same policy in the first update after generation and needs to be ranked only once.
* Temperature of the entropy: the sampling temperature here, 1 in the third party's implementation.
* Denominator. ``all``: the policy term is divided by all tokens. ``kept`` is the one of ``forking_tokens``.

The first version selected the top 20 % instead (``forking_tokens`` with ``scope: sequence``; the scope is unverified).
Recipe of the second version, with its other two terms::

    interventions:
      - forking_otsu: {}
      - entropy_band: {edges: mad}
      - kl_anchor: {}
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rlent.interventions.selection_metrics import selection_metrics
from rlent.interventions.stages import Intervention, Metrics
from rlent.numerics import fill
from rlent.types import Rollouts, Selection, Signal, Tokens


@dataclass(frozen=True, kw_only=True)
class ForkingOtsu(Intervention):
    """Keep the policy gradient of tokens at or above the Otsu threshold of their completion's entropies."""

    name: ClassVar[str] = "forking_otsu"
    paper: ClassVar[str] = "SPINE, arXiv 2511.17938v2 (second-hand)"
    writes: ClassVar[frozenset[str]] = frozenset({"select", "count"})

    bins: int = 100
    """Bins of the histogram. 1 is one class, of which everything is kept: the neutral setting."""
    entropy: Literal["old", "current"] = "old"
    """Whose entropy is split: the generating policy's, once per generation batch, or the current one's."""
    denominator: Literal["all", "kept"] = "all"
    """Tokens that the policy term is averaged over: all of them, or the kept ones."""

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise ValueError(f"bins must be at least 1, got {self.bins}")

    @classmethod
    def neutral(cls) -> "ForkingOtsu":
        return cls(bins=1)

    @property
    def needs(self) -> frozenset[str]:
        needs = {"old_entropy"} if self.entropy == "old" else {"entropy"}
        if self.entropy == "current" and self.denominator == "kept":
            needs.add("micro_batch_denominator")
        return frozenset(needs)

    def on_select(self, rollouts: Rollouts, selection: Selection) -> tuple[Selection, Metrics]:
        """Split the tokens that are still selected by the generating policy's entropy."""
        if self.entropy == "current":
            return selection, {}
        assert rollouts.old_entropy is not None
        chosen = self._choose(rollouts.old_entropy, selection.select & rollouts.mask)
        count = chosen if self.denominator == "kept" else selection.count
        metrics = selection_metrics(chosen, rollouts.old_entropy, rollouts.mask)
        return Selection(select=chosen, count=count), metrics

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        """Split inside this micro-batch, when the current entropies are asked for."""
        if self.entropy == "old":
            return signal, {}
        entropy = tokens.entropy.detach()
        chosen = self._choose(entropy, signal.select & tokens.mask)
        count = chosen if self.denominator == "kept" else signal.count
        metrics = selection_metrics(chosen, entropy, tokens.mask)
        return replace(signal, select=chosen, count=count), metrics

    def _choose(self, entropy: Tensor, candidates: Tensor) -> Tensor:
        return candidates & (entropy >= otsu_threshold(entropy, candidates, self.bins))


def otsu_threshold(
    values: Float[Tensor, "n t"], mask: Bool[Tensor, "n t"], bins: int
) -> Float[Tensor, "n 1"]:
    """Of each row, the centre of the bin ``k`` that maximises ``w0 w1 (mu0 - mu1)^2``; the first if several do.

    ``bins`` equal bins lie between the row's smallest and largest value where ``mask`` holds; class 0 is the bins up to
    and with ``k``, class 1 the bins above. A row without two classes, because its values are equal or ``bins`` is 1,
    gets its smallest value, and a row without values infinity. float64, in the unit of the values.

    Source: Otsu 1979, "A threshold selection method from gray-level histograms".
    """
    values = values.double()
    low = fill(values, mask, math.inf).amin(-1, keepdim=True)
    high = fill(values, mask, -math.inf).amax(-1, keepdim=True)
    split = (high > low) & (bins > 1)
    place = fill((values - low) / (high - low) * bins, mask & split)
    counts = _histogram(place.long().clamp(max=bins - 1), mask, bins)
    first = _class_separation(counts).argmax(-1, keepdim=True)
    return torch.where(split, low + (first + 0.5) * (high - low) / bins, low)


def _histogram(
    index: Int[Tensor, "n t"], mask: Bool[Tensor, "n t"], bins: int
) -> Int[Tensor, "n k"]:
    """Masked-in positions of each row in each bin. Integers, so that the order of summation is no matter."""
    return index.new_zeros(len(index), bins).scatter_add(1, index, mask.long())


def _class_separation(counts: Int[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """``(N s0 - S w0)^2 / (w0 w1)``: a row's ``w0 w1 (mu0 - mu1)^2`` up to a constant factor.

    ``w`` counts values and ``s`` sums their bin numbers, so everything up to the square is an exact integer and equal
    splits, as those on the two sides of an empty bin, give equal numbers.
    """
    numbers = torch.arange(counts.shape[1], device=counts.device)
    below, moment = counts.cumsum(1), (counts * numbers).cumsum(1)
    total, whole = below[:, -1:], moment[:, -1:]
    difference = (total * moment - whole * below).double()
    return difference.square() / (below * (total - below)).clamp(min=1)
