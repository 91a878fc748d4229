"""The records that flow through everything.

Axis names used in every shape of the library: ``n`` rollouts of this rank (one generation batch), ``b`` rows of a
micro-batch, ``t`` completion positions, ``k`` reward functions.

``mask`` already excludes padding, tool tokens and whatever the trainer masks. A masked position may hold anything,
NaN and infinity included, and never influences a result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jaxtyping import Bool, Float, Int
from torch import Tensor

from rlent.distributions import Statistic
from rlent.reduce import LOCAL, Reduce


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetTree:
    """What the rows of a generation batch are where thinking was cut at token budgets (``rollout.budgets``).

    A row is a thinking trace up to where it was cut, forced tokens, and a summary; a trace has a row for each of its
    summaries. Its thinking counts in the last of them alone.
    """

    levels: tuple[int, ...]
    """The budgets: tokens of thinking, ascending."""
    generations: int
    """Traces of every prompt."""
    trace: Int[Tensor, " n"]
    """Number of the row's trace on this rank; those of a prompt are consecutive."""
    level: Int[Tensor, " n"]
    """Index of the summary's budget."""
    reached: Int[Tensor, " n"]
    """Index of the budget that thinking had reached: ``level``, or less where thinking had ended by itself before."""
    segment: Int[Tensor, "n t"]
    """``s`` for thinking between budgets ``s - 1`` and ``s``, ``len(levels)`` for the summary, -1 for what is not
    learnt from here: forced tokens, padding, and thinking that another row counts."""


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
    budgets: BudgetTree | None = None
    """None unless thinking was cut at token budgets."""
    vocabulary: Sequence[str] | None = None
    """The text of every token number; None unless an intervention needs it."""
    prompt_mask: Bool[Tensor, "n p"] | None = None
    """False where ``prompt_ids`` is padding; None where prompts are not known."""
    train: bool = True
    """False in an evaluation, which must move no state."""
    old_statistics: Mapping[Statistic, Tensor] = field(default_factory=dict)
    """Those [n t] of the generating policy's distributions that interventions need."""
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
    iteration: int = 0
    """How often the rollouts have been passed over in training before: 0 in the first of ``num_iterations`` passes."""
    ref_kl: Float[Tensor, "b t"] | None = None
    """Exact KL divergence from the reference policy where ``Selection.select`` holds, with gradient; 0 elsewhere."""
    train: bool = True
    """False in an evaluation, which must move no state."""
    statistics: Mapping[Statistic, Tensor] = field(default_factory=dict)
    """Those [b t] of the current policy's distributions that interventions need."""
    old_statistics: Mapping[Statistic, Tensor] = field(default_factory=dict)
    """Those [b t] of the generating policy's distributions that interventions need."""
    prompt_logp: Float[Tensor, "b p"] | None = None
    """Of every prompt token but the first, which nothing predicts, with gradient; None unless an intervention needs
    it."""
    prompt_mask: Bool[Tensor, "b p"] | None = None
    """Tokens of ``prompt_logp`` that are no padding and stand behind a token; None where that is."""
    per_completion: Float[Tensor, "b t"] | None = None
    """What a number of a whole completion is multiplied by to enter ``Signal.penalty`` at each of its tokens so that
    the loss holds the mean over the step's completions; None where ``prompt_logp`` is."""
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
    """Lower bound on the ratio itself, such as ``1 - epsilon``."""
    clip_high: Float[Tensor, "b t"]
    """Upper bound on the ratio itself, such as ``1 + epsilon_high``."""
    keep_low: Float[Tensor, "b t"]
    """Share of gradient kept below ``clip_low`` where the advantage is negative, in 0..1."""
    keep_high: Float[Tensor, "b t"]
    """Share of gradient kept above ``clip_high`` where the advantage is positive."""
    penalty: Float[Tensor, "b t"]
    """Any differentiable term per token, in loss units."""
