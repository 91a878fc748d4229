"""The records that flow through everything.

Axis names used in every shape of the library: ``n`` rollouts of this rank (one generation batch), ``b`` rows of a
micro-batch, ``t`` completion positions, ``k`` reward functions.

``mask`` already excludes padding, tool tokens and whatever the trainer masks. A masked position may hold anything,
NaN and infinity included, and never influences a result.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from rlent.reduce import LOCAL, Reduce


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollouts:
    """The whole generation batch of this rank, without gradient.

    Entropies are in nats, over the full vocabulary, at the sampling temperature, before top-p or top-k.
    """

    prompt_ids: Int[Tensor, "n p"]
    completion_ids: Int[Tensor, "n t"]
    mask: Bool[Tensor, "n t"]
    group: Int[Tensor, " n"]
    """Number of the prompt's group, unique over all ranks: completions of one prompt share it."""
    old_logp: Float[Tensor, "n t"] | None
    """Log-probability under the policy that generated; None unless an intervention needs it."""
    old_entropy: Float[Tensor, "n t"] | None
    ref_logp: Float[Tensor, "n t"] | None
    texts: tuple[str, ...] | None
    """The completions, decoded; None unless an intervention needs them."""
    reward_parts: Float[Tensor, "n k"]
    reward_names: tuple[str, ...]
    """Names of the ``k`` reward functions."""
    reward: Float[Tensor, " n"]
    """Weighted sum of the parts, as far as earlier interventions have left it; NaN where it could not be scored."""
    truncated: Bool[Tensor, " n"]
    """The completion stopped at the length limit, not at an end-of-sequence token."""
    answers: tuple[str, ...] | None
    """Reference answers, if the data has them."""
    step: int
    reduce: Reduce = LOCAL

    def named_reward(self, name: str | None) -> Float[Tensor, " n"]:
        """The part of one reward function, unweighted, or the whole reward for None."""
        return self.reward if name is None else self.reward_parts[:, self.reward_names.index(name)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """One micro-batch under the current policy; ``logp`` carries gradient."""

    logp: Float[Tensor, "b t"]
    entropy: Float[Tensor, "b t"]
    """Nats; carries gradient only when an intervention needs ``entropy_grad``."""
    old_logp: Float[Tensor, "b t"]
    old_entropy: Float[Tensor, "b t"] | None
    ref_logp: Float[Tensor, "b t"] | None
    mask: Bool[Tensor, "b t"]
    group: Int[Tensor, " b"]
    reward: Float[Tensor, " b"]
    """Reward of the completion, after ``on_rewards``; NaN where it could not be scored."""
    step: int
    ref_kl: Float[Tensor, "b t"] | None = None
    """Exact KL divergence from the reference policy where ``Selection.select`` holds, with gradient; 0 elsewhere."""
    reduce: Reduce = LOCAL


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which tokens learn, and which tokens the policy term's denominator counts."""

    select: Bool[Tensor, "n t"]
    count: Bool[Tensor, "n t"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Signal:
    """What the surrogate is told about every token.

    The one expression of the library, with everything below free to be moved by an intervention::

        loss = sum_t select_t weight_t surrogate(ratio_t, advantage_t; clip, keep) / Z(count)
             + sum_t penalty_t / Z(mask)
    """

    select: Bool[Tensor, "b t"]
    count: Bool[Tensor, "b t"]
    advantage: Float[Tensor, "b t"]
    weight: Float[Tensor, "b t"]
    clip_low: Float[Tensor, "b t"]
    """Lower bound on the ratio itself (``1 - epsilon`` in PPO)."""
    clip_high: Float[Tensor, "b t"]
    """Upper bound on the ratio itself (``1 + epsilon_high`` in PPO, ``epsilon_high`` in TRL's CISPO)."""
    keep_low: Float[Tensor, "b t"]
    """Share of gradient kept below ``clip_low`` where the advantage is negative: 0 is PPO, 1 is GPPO."""
    keep_high: Float[Tensor, "b t"]
    """Share of gradient kept above ``clip_high`` where the advantage is positive."""
    penalty: Float[Tensor, "b t"]
    """Any differentiable term per token, in loss units."""
