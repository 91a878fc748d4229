"""No gradient for a few tokens of high covariance, drawn at random.

Cui et al., "The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models", arXiv 2505.22617
(Clip-Cov)::

    Cov_t  = (A_t - mean A) (log pi_t - mean log pi)                  means over the tokens of the batch
    I_clip ~ Uniform( t : omega_low < Cov_t < omega_high, floor(r N) )
    J_t    = 0 where t in I_clip, and PPO's clipped surrogate elsewhere

The denominator keeps the dropped tokens. Tokens of high covariance lower the entropy of the policy most, and a share
``r`` of 2 in 10 000 is enough.

Checked against the released code (``rlent conformance``); of the paper, only second-hand accounts were read. What they
leave open is a named choice here:

* Scope. The released code centres and draws inside one micro-batch of one rank, so the result depends on how the batch
  is split; its authors call that an approximation of the global set (issue 20 of their repository). The default is the
  whole generation batch of all ranks, with the log-probabilities of the generating policy, which is the current policy
  in the first update after generation.
* The released code leaves out tokens that PPO clips anyway, and drops at least one token wherever there is one to drop,
  which in micro-batches of less than ``1 / r`` tokens is more than ``r``: ``as_released``.
* Advantages that an earlier intervention changes token by token in the micro-batch (``entropy_advantage``) are not yet
  changed when the whole generation batch is ranked; ``scope: micro_batch`` sees them.
* The released code has no dual clip and does not clamp the log-ratio. Its recipe bounds the ratio by 1 -+ 1.0.

Recipe::

    interventions:
      - clip_cov: {share: 0.0002, low: 1.0, high: 5.0}
"""

import zlib
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rlent.interventions.covariance import centre
from rlent.interventions.ratios import clipped_tokens
from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import top_count, whole_count
from rlent.reduce import LOCAL, Reduce
from rlent.types import Rollouts, Selection, Signal, Tokens


@dataclass(frozen=True, kw_only=True)
class ClipCov(Intervention):
    """Drop the policy gradient of a random few of the tokens whose covariance lies in a range."""

    name: ClassVar[str] = "clip_cov"
    paper: ClassVar[str] = "The Entropy Mechanism, arXiv 2505.22617"
    writes: ClassVar[frozenset[str]] = frozenset({"select"})
    reads: ClassVar[frozenset[str]] = frozenset({"advantage", "clip_low", "clip_high"})

    share: float = 2e-4
    """Tokens dropped as a share of all tokens of the scope, in [0, 1] (r), as far as so many are in the range."""
    low: float = 1.0
    """Covariance above which a token may be dropped (omega_low)."""
    high: float = 5.0
    """Covariance below which a token may be dropped (omega_high)."""
    scope: Literal["global", "micro_batch"] = "global"
    """Tokens that the means and the share are of: the generation batch of all ranks by the generating policy, or one
    micro-batch of one rank by the current one."""
    seed: int = 0
    """Of the draw, which is another in every optimiser step and on every rank."""
    as_released: bool = False
    """The released code: one micro-batch, without the tokens that PPO clips, and at least one token dropped."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"share must be in [0, 1], got {self.share}")
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if self.as_released:
            object.__setattr__(self, "scope", "micro_batch")

    @classmethod
    def neutral(cls) -> "ClipCov":
        return cls(share=0.0)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"old_logp"} if self.scope == "global" else ())

    def build(self) -> "ClipCovStages":
        return ClipCovStages(self)

    def in_range(self, covariance: Float[Tensor, "b t"]) -> Bool[Tensor, "b t"]:
        return (covariance > self.low) & (covariance < self.high)

    def eligible(self, tokens: Tokens, signal: Signal) -> Bool[Tensor, "b t"]:
        """Tokens of a micro-batch that may be dropped."""
        given = tokens.logp, signal.advantage, tokens.mask
        chosen = tokens.mask & self.in_range(centre(*given).covariance(*given))
        return chosen & ~clipped_tokens(tokens, signal) if self.as_released else chosen

    def number(self, total: Int[Tensor, ""]) -> Int[Tensor, ""]:
        """How many of ``total`` tokens are dropped."""
        return whole_count(self.share, total).clamp(min=1 if self.as_released else 0)


class ClipCovStages:
    """Carries covariances from the advantages to the selection."""

    def __init__(self, config: ClipCov) -> None:
        self._config = config
        self._covariance: Tensor | None = None

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        if self._config.scope != "global":
            return advantage, {}
        assert rollouts.old_logp is not None
        given = rollouts.old_logp, advantage, rollouts.mask
        self._covariance = centre(*given, rollouts.reduce).covariance(*given)
        return advantage, {"covariance": Mean(self._covariance.sum(), rollouts.mask.sum())}

    def on_select(self, rollouts: Rollouts, selection: Selection) -> tuple[Selection, Metrics]:
        if self._config.scope != "global":
            return selection, {}
        assert self._covariance is not None
        eligible = rollouts.mask & self._config.in_range(self._covariance)
        dropped = self._draw(eligible, rollouts.mask, rollouts.step, rollouts.reduce)
        self._covariance = None
        kept = replace(selection, select=selection.select & ~dropped)
        return kept, _metrics(eligible, dropped, rollouts.mask)

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        if self._config.scope == "global":
            return signal, {}
        eligible = self._config.eligible(tokens, signal)
        own = replace(LOCAL, rank=tokens.reduce.rank)
        dropped = self._draw(eligible, tokens.mask, tokens.step, own)
        kept = replace(signal, select=signal.select & ~dropped)
        return kept, _metrics(eligible, dropped, tokens.mask)

    def _draw(self, eligible: Tensor, mask: Tensor, step: int, reduce: Reduce) -> Tensor:
        # The generator reads 32 bits of its seed.
        seed = zlib.crc32(f"{self._config.seed} {step} {reduce.rank}".encode())
        keys = torch.rand(eligible.shape, generator=torch.Generator().manual_seed(seed))
        number = self._config.number(reduce.sum(mask.sum()))
        return top_count(keys.to(eligible.device), eligible, number, reduce)


def _metrics(eligible: Tensor, dropped: Tensor, mask: Tensor) -> Metrics:
    total = mask.sum()
    return {"eligible": Mean(eligible.sum(), total), "dropped": Mean(dropped.sum(), total)}
