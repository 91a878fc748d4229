"""A band that holds the entropy of the tokens that learn.

Wu et al., "SPINE: Token-Selective Test-Time Reinforcement Learning with Entropy-Band Regularization",
arXiv 2511.17938::

    L_band = sum_t m_t ( b_low relu(lower - H_t) + b_high relu(H_t - upper) ) / N_tok

with ``m`` the tokens that learn, ``N_tok`` all tokens, and ``H_t`` the entropy under the current policy (nats), which
alone carries gradient: below the band entropy is raised, above it lowered. The edges are statistics of one completion's
chosen entropies, without gradient::

    quantile (v1)   lower = Q_0.10, upper = Q_0.50
    mad (v2)        c = median, s = 1.4826 median |H - c| but at least 1e-6;  lower = max(0, c - s), upper = c

Read are the abstracts only. The two versions define the band differently, and both definitions are second-hand: v1's
from a survey, v2's from a third party's implementation of "2511.17938v2 equations 2-21". Not verified:

* ``weight_low`` and ``weight_high``: 0.01 is that third party's own choice.
* Interpolation of quantiles and median (linear), and for v1 the denominator and that the edges carry no gradient.
* Temperature of the entropy: the sampling temperature here, 1 in the third party's implementation.

Either relative band has the median as its upper edge, so half of the chosen tokens lie above it whatever their entropy
is, and the band follows the policy wherever it goes: it presses on the upper half and cannot hold a level.
``edges_from: old`` holds the edges still while the policy moves within one generation batch, and not beyond.
``edges: fixed`` is a band in nats, and the only one that can hold a level. It is not the paper's, and no values of its
edges have been published.

Recipe of the first version, and of a fixed band::

    interventions:
      - forking_tokens: {fraction: 0.2, scope: sequence, denominator: all}
      - entropy_band: {edges: quantile}

    interventions:
      - entropy_band: {edges: fixed, low: 0.3, high: 1.2, tokens: all}
"""

import math
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal

from jaxtyping import Bool, Float
from torch import Tensor

from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill, row_quantile
from rlent.types import Signal, Tokens

Edges = Float[Tensor, "b 1"]

_NORMAL_CONSISTENT = 1.4826
"""Makes the median absolute deviation of normal values their standard deviation."""
_SMALLEST_SPREAD = 1e-6
_SETTINGS_OF = {
    "low_quantile": "quantile",
    "high_quantile": "quantile",
    "low": "fixed",
    "high": "fixed",
}


@dataclass(frozen=True, kw_only=True)
class EntropyBand(Intervention):
    """Penalise the distance of a token's entropy from a band."""

    name: ClassVar[str] = "entropy_band"
    paper: ClassVar[str] = "SPINE, arXiv 2511.17938 (second-hand)"
    writes: ClassVar[frozenset[str]] = frozenset({"penalty"})
    reads: ClassVar[frozenset[str]] = frozenset({"select"})

    edges: Literal["quantile", "mad", "fixed"] = "quantile"
    """The band: two quantiles (v1), median and median absolute deviation (v2), or two entropies in nats."""
    low_quantile: float = 0.10
    """Lower edge of ``edges: quantile``."""
    high_quantile: float = 0.50
    """Upper edge of ``edges: quantile``."""
    low: float | None = None
    """Lower edge of ``edges: fixed``, nats."""
    high: float | None = None
    """Upper edge of ``edges: fixed``, nats."""
    tokens: Literal["selected", "all"] = "selected"
    """Tokens that the band is made of and acts on: those that learn, or all."""
    edges_from: Literal["current", "old"] = "current"
    """Whose entropies the edges are taken from: the current policy's, or the generating policy's."""
    weight_low: float = 0.01
    """Loss per nat below the band. Unverified."""
    weight_high: float = 0.01
    """Loss per nat above the band. Unverified."""

    def __post_init__(self) -> None:
        for name in ("weight_low", "weight_high"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or positive, got {getattr(self, name)}")
        self._refuse_settings_of_other_edges()
        if not 0.0 <= self.low_quantile <= self.high_quantile <= 1.0:
            raise ValueError(
                "low_quantile and high_quantile must be in order and in [0, 1], got "
                f"{self.low_quantile} and {self.high_quantile}"
            )
        if self.edges == "fixed":
            self._check_fixed_edges()

    def _refuse_settings_of_other_edges(self) -> None:
        for field in fields(self):
            edges = _SETTINGS_OF.get(field.name, self.edges)
            if edges != self.edges and getattr(self, field.name) != field.default:
                raise ValueError(
                    f"{field.name} belongs to edges: {edges}, but edges: {self.edges} is set; remove one of the two"
                )

    def _check_fixed_edges(self) -> None:
        if self.low is None or self.high is None:
            raise ValueError("edges: fixed needs low and high, in nats")
        if not 0.0 <= self.low <= self.high < math.inf:
            raise ValueError(
                f"low and high must be in order and not negative, got {self.low} and {self.high}"
            )
        if self.edges_from == "old":
            raise ValueError(
                "edges_from: old has no effect with edges: fixed; remove one of the two"
            )

    @classmethod
    def neutral(cls) -> "EntropyBand":
        return cls(weight_low=0.0, weight_high=0.0)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset(
            {"entropy_grad"} | ({"old_entropy"} if self.edges_from == "old" else set())
        )

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        chosen = signal.select & tokens.mask if self.tokens == "selected" else tokens.mask
        source = tokens.entropy.detach() if self.edges_from == "current" else tokens.old_entropy
        assert source is not None
        lower, upper = self._edges(source, chosen)
        entropy = fill(tokens.entropy, chosen)
        metrics = _metrics(entropy.detach(), chosen, lower, upper)
        if self.weight_low == self.weight_high == 0.0:
            return signal, metrics
        outside = (
            self.weight_low * (lower - entropy).relu() + self.weight_high * (entropy - upper).relu()
        )
        return replace(signal, penalty=signal.penalty + fill(outside, chosen)), metrics

    def _edges(self, entropy: Tensor, chosen: Tensor) -> tuple[Edges, Edges]:
        match self.edges:
            case "quantile":
                return (
                    row_quantile(entropy, chosen, self.low_quantile),
                    row_quantile(entropy, chosen, self.high_quantile),
                )
            case "mad":
                return mad_band(entropy, chosen)
            case "fixed":
                assert self.low is not None
                assert self.high is not None
                rows = (len(entropy), 1)
                return entropy.new_full(rows, self.low), entropy.new_full(rows, self.high)


def mad_band(
    entropy: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"]
) -> tuple[Float[Tensor, "b 1"], Float[Tensor, "b 1"]]:
    """``max(0, c - s)`` and ``c``: each row's median and, below it, 1.4826 median absolute deviations (SPINE v2)."""
    centre = row_quantile(entropy, mask, 0.5)
    deviation = row_quantile((entropy - centre).abs(), mask, 0.5)
    spread = (_NORMAL_CONSISTENT * deviation).clamp(min=_SMALLEST_SPREAD)
    return (centre - spread).clamp(min=0), centre


def _metrics(entropy: Tensor, chosen: Tensor, lower: Tensor, upper: Tensor) -> Metrics:
    total, bands = chosen.sum(), chosen.any(-1, keepdim=True)
    return {
        "below": Mean((chosen & (entropy < lower)).sum(), total),
        "above": Mean((chosen & (entropy > upper)).sum(), total),
        "width": Mean(fill(upper - lower, bands).sum(), bands.sum()),
        "entropy_chosen": Mean(entropy.sum(), total),
    }
