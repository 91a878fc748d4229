"""Policy gradients on forking tokens only.

Wang et al., "Beyond the 80/20 Rule: High-Entropy Minority Tokens Drive Effective Reinforcement Learning for LLM
Reasoning", arXiv 2506.01939 (v2), Eq. 6::

    J = E[ sum_t 1[H_t >= tau] min(r_t A, clip(r_t) A) / sum_t 1[H_t >= tau] ]

with ``H_t`` the entropy of token ``t`` (nats, sampling temperature) and ``tau`` such that a share ``rho`` of the
batch's tokens is kept. The denominator counts the kept tokens. No gradient flows through ``H_t``.

Read in the paper and in the released code. What they leave open is a named choice here:

* Ties. Eq. 6 keeps all tokens at the threshold, the released code exactly ``k``. Half of a model's tokens have an
  entropy near 0, where ties are common, so exactly ``k = ceil(rho N)`` are kept, ties broken by position.
* Scope. The text says "(micro-)batch"; the released code takes one micro-batch of one rank. The default is the whole
  generation batch of all ranks, which does not depend on how the batch is split.
* Whose entropy. The paper says the current policy's, also off-policy. Over a scope wider than a micro-batch the
  current entropies do not exist before the step has run, so the default is the generating policy's, which is the same
  policy in the first update after generation.
* ``k``. The released ``max(1, int(rho N + 0.9999))`` is the same number for every ``rho`` of up to four decimals.
* Denominator. ``all`` is what TRL's ``top_entropy_quantile`` does: the loss is about ``rho`` times Eq. 6.

Released settings of the paper's runs: clip 0.2 / 0.28, dual clip 10, no KL (``trainer.epsilon``, ``epsilon_high``,
``delta``, ``beta``). Recipe::

    interventions:
      - forking_tokens: {fraction: 0.2}
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from rlent.interventions.selection_metrics import selection_metrics
from rlent.interventions.stages import Intervention, Metrics
from rlent.numerics import top_share, top_share_within
from rlent.reduce import LOCAL, Reduce
from rlent.released import take_released_settings
from rlent.types import Rollouts, Selection, Signal, Tokens

Scope = Literal["global", "rank", "micro_batch", "group", "sequence"]

_RELEASED = {"scope": "micro_batch", "entropy": "current", "denominator": "kept"}


@dataclass(frozen=True, kw_only=True)
class ForkingTokens(Intervention):
    """Keep the policy gradient of the share ``fraction`` of tokens with the highest entropy."""

    name: ClassVar[str] = "forking_tokens"
    paper: ClassVar[str] = "Beyond the 80/20 Rule, arXiv 2506.01939"
    writes: ClassVar[frozenset[str]] = frozenset({"select", "count"})
    in_place_of: ClassVar[frozenset[str]] = frozenset({"top_entropy_quantile"})

    fraction: float = 0.2
    """Share of tokens kept, in (0, 1]: exactly ``ceil(fraction * N)`` of the scope's N tokens."""
    keep: Literal["highest", "lowest"] = "highest"
    """``lowest`` is the paper's ablation: the same share from the other end (0.8 for its "bottom 80%")."""
    scope: Scope = "global"
    """Tokens ranked together: those of all ranks, of this rank, of a micro-batch, a prompt's group, a completion."""
    entropy: Literal["old", "current"] = "old"
    """Whose entropy ranks: the generating policy's, or the current one's (scopes micro_batch and sequence only)."""
    denominator: Literal["kept", "all"] = "kept"
    """Tokens that the policy term is averaged over: the kept ones (Eq. 6) or all of them (TRL)."""
    as_released: bool = False
    """The released code: the current entropies of one micro-batch of one rank, kept tokens in the denominator."""

    def __post_init__(self) -> None:
        if not 0.0 < self.fraction <= 1.0:
            raise ValueError(f"fraction must be in (0, 1], got {self.fraction}")
        if self.as_released:
            take_released_settings(self, _RELEASED)
        if self.entropy == "current" and self.scope not in ("micro_batch", "sequence"):
            raise ValueError(
                f"entropy: current cannot rank over scope: {self.scope}, because the current entropies of other "
                "micro-batches are not known yet; use scope: micro_batch or sequence, or entropy: old"
            )

    @classmethod
    def neutral(cls) -> "ForkingTokens":
        return cls(fraction=1.0)

    @property
    def in_micro_batch(self) -> bool:
        """Ranked when the micro-batch is scored, not once per generation batch."""
        return self.scope == "micro_batch" or self.entropy == "current"

    @property
    def needs(self) -> frozenset[str]:
        needs = {"old_entropy"} if self.entropy == "old" else {"entropy"}
        if self.scope == "group":
            needs.add("whole_groups")
        if self.in_micro_batch and self.denominator == "kept":
            needs.add("micro_batch_denominator")
        return frozenset(needs)

    def on_select(self, rollouts: Rollouts, selection: Selection) -> tuple[Selection, Metrics]:
        """Rank the tokens that are still selected by the generating policy's entropy."""
        if self.in_micro_batch:
            return selection, {}
        assert rollouts.old_entropy is not None
        candidates = selection.select & rollouts.mask
        chosen = self._choose(rollouts.old_entropy, candidates, rollouts.group, rollouts.reduce)
        count = chosen if self.denominator == "kept" else selection.count
        metrics = selection_metrics(chosen, rollouts.old_entropy, rollouts.mask)
        return Selection(select=chosen, count=count), metrics

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        """Rank inside this micro-batch, when the scope or the current entropies ask for it."""
        if not self.in_micro_batch:
            return signal, {}
        entropy = tokens.entropy.detach() if self.entropy == "current" else tokens.old_entropy
        assert entropy is not None
        chosen = self._choose(entropy, signal.select & tokens.mask, tokens.group, LOCAL)
        count = chosen if self.denominator == "kept" else signal.count
        return replace(signal, select=chosen, count=count), selection_metrics(
            chosen, entropy, tokens.mask
        )

    def _choose(self, entropy: Tensor, candidates: Tensor, group: Tensor, reduce: Reduce) -> Tensor:
        score = entropy if self.keep == "highest" else -entropy
        match self.scope:
            case "global":
                return top_share(score, candidates, self.fraction, reduce)
            case "rank" | "micro_batch":
                return top_share(score, candidates, self.fraction)
            case "group":
                return top_share_within(score, candidates, self.fraction, group)
            case "sequence":
                rows = torch.arange(len(candidates), device=candidates.device)
                return top_share_within(score, candidates, self.fraction, rows)
