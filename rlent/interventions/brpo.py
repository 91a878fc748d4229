"""Advantages of thinking that is cut at token budgets: budget relative policy optimisation (BRPO).

Qi et al., "Optimizing Anytime Reasoning via Budget Relative Policy Optimization", arXiv 2505.13438. With budgets
``b_0 < ... < b_{S-1}``, a prior ``P`` over them, and ``q_j`` the mean score of a trace's summaries at budget ``j``, the
thinking between budgets ``s - 1`` and ``s`` is judged by all that may follow from it::

    R_s  = sum_{j >= s} P_j q_j                                      return
    V1_s = sum_{j < s} 2^j q_j / sum_{j < s} 2^j * sum_{j >= s} P_j  what the trace had reached before; 0 for s = 0
    V2_s = mean of R_s over the prompt's traces, its own among them  0 where a prompt has one trace
    A_s  = R_s - (s V1_s + (S - s) V2_s) / S

one number for all tokens of a segment, not divided by a deviation. A summary's advantage is its score minus the mean
over the summaries of the same cut, or, where each cut has one summary, over the prompt's traces at this budget; ``P``
is not in it, so summaries learn under equal budgets. With one budget and one summary both are GRPO's without the
deviation.

The abstract and the released code were read, the paper's equations were not; the advantages are compared with the code
by ``rlent conformance``. Its setting ``notrain`` (advantage 0 for all thinking) is not offered. A summary that could
not be scored counts as 0 and has advantage 0. The two halves of the released GRPO baseline are ``baseline: group`` and
``summaries: last``. How rows, losses and TRL's metrics are to be read is in docs/budgets.md. Recipe::

    rollout: {budgets: {levels: [2000, 4000, 6000, 8000], summaries: 4}}
    interventions:
      - brpo: {prior: uniform}
    trainer: {max_completion_length: 8192}
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.types import BudgetTree, Rollouts

Prior = Literal["uniform", "linear", "base"]
Baseline = Literal["both", "own", "group", "none"]


@dataclass(frozen=True, kw_only=True)
class BRPO(Intervention):
    """Replace advantages by those of budget segments for thinking, and of their cut for summaries."""

    name: ClassVar[str] = "brpo"
    paper: ClassVar[str] = "AnytimeReasoner, arXiv 2505.13438"
    writes: ClassVar[frozenset[str]] = frozenset({"advantage"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"advantage"})

    prior: Prior = "uniform"
    """Weight of each budget: equal, in proportion to its tokens, or all of it on the last."""
    baseline: Baseline | None = "both"
    """What thinking is compared with: V1 and V2 as above, V1, V2, or nothing; null leaves its advantage as it is."""
    summaries: Literal["each", "last"] | None = "each"
    """Which summaries have an advantage: each, or the last budget's last one; null leaves it as it is."""

    @classmethod
    def neutral(cls) -> "BRPO":
        return cls(baseline=None, summaries=None)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"budgets", "whole_groups"})

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        tree = rollouts.budgets
        assert tree is not None
        order = rows_in_order(tree)
        score = rollouts.reward.nan_to_num(nan=0.0).double()[order]
        prior = budget_prior(tree.levels, self.prior).to(score.device)
        last = len(tree.levels)
        if self.baseline is not None:
            values = thinking_advantages(score.mean(3), prior, self.baseline).flatten(0, 1)
            own = values[tree.trace].gather(1, tree.segment.clamp(0, last - 1))
            thinking = (tree.segment >= 0) & (tree.segment < last)
            advantage = torch.where(thinking, own.to(advantage.dtype), advantage)
        if self.summaries is not None:
            values = self.of_summaries(score, tree.reached[order])
            of_rows = torch.zeros_like(rollouts.reward, dtype=advantage.dtype)
            of_rows[order] = values.to(advantage.dtype)
            of_rows = of_rows.masked_fill(rollouts.reward.isnan(), 0.0).unsqueeze(1)
            advantage = torch.where(tree.segment == last, of_rows, advantage)
        return advantage, _metrics(tree, score.mean(3), prior)

    def of_summaries(
        self, score: Float[Tensor, "q g s a"], reached: Int[Tensor, "q g s a"]
    ) -> Float[Tensor, "q g s a"]:
        """The advantages of summaries under this configuration."""
        values = summary_advantages(score, reached)
        if self.summaries == "each":
            return values
        last = torch.zeros_like(values)
        last[:, :, -1, -1] = values[:, :, -1, -1]
        return last


def budget_prior(levels: Sequence[int], prior: Prior) -> Float64[Tensor, " s"]:
    """Weights of the budgets, which sum to 1."""
    match prior:
        case "uniform":
            weights = torch.ones(len(levels), dtype=torch.float64)
        case "linear":
            weights = torch.tensor(levels, dtype=torch.float64)
        case "base":
            weights = torch.zeros(len(levels), dtype=torch.float64)
            weights[-1] = 1.0
    return weights / weights.sum()


def thinking_advantages(
    score: Float[Tensor, "q g s"], prior: Float[Tensor, " s"], baseline: Baseline
) -> Float[Tensor, "q g s"]:
    """``A_s`` of every trace: prompts, traces of a prompt, budgets. ``score`` is the mean over a budget's summaries."""
    budgets = len(prior)
    returns = _from_here_on(score * prior)
    number = torch.arange(budgets, dtype=score.dtype, device=score.device)
    weight = 2.0**number
    before = (score * weight).cumsum(-1) - score * weight
    own = before / (weight.cumsum(-1) - weight).clamp(min=1) * _from_here_on(prior)
    group = returns.mean(1, keepdim=True) if score.size(1) > 1 else torch.zeros_like(returns)
    match baseline:
        case "both":
            return returns - (number * own + (budgets - number) * group) / budgets
        case "own":
            return returns - own
        case "group":
            return returns - group
        case "none":
            return returns


def summary_advantages(
    score: Float[Tensor, "q g s a"], reached: Int[Tensor, "q g s a"]
) -> Float[Tensor, "q g s a"]:
    """Score minus the mean of its cut: of all summaries of the trace with the same ``reached``.

    Where every cut has one summary, the mean is that over the prompt's traces at this budget.
    """
    if score.size(3) == 1:
        return score - score.mean(1, keepdim=True)
    flat, cuts = score.flatten(2), reached.flatten(2)
    same = (cuts.unsqueeze(2) == cuts.unsqueeze(3)).to(score.dtype)
    mean = (same * flat.unsqueeze(2)).sum(3) / same.sum(3)
    return score - mean.view_as(score)


def rows_in_order(tree: BudgetTree) -> Int[Tensor, "q g s a"]:
    """Row numbers by prompt, trace, budget and summary."""
    budgets = len(tree.levels)
    order = (tree.trace * budgets + tree.level).argsort(stable=True)
    traces = len(tree.trace.unique())
    summaries = len(order) // (traces * budgets) if traces else 1
    return order.view(traces // tree.generations, tree.generations, budgets, summaries)


def _from_here_on(values: Float[Tensor, "*n s"]) -> Float[Tensor, "*n s"]:
    """Sums over this budget and all larger ones."""
    return values.flip(-1).cumsum(-1).flip(-1)


def _metrics(
    tree: BudgetTree, score: Float[Tensor, "q g s"], prior: Float[Tensor, " s"]
) -> Metrics:
    traces = score.size(0) * score.size(1)
    at_levels = {
        f"score/{level}": Mean(score[..., number].sum(), traces)
        for number, level in enumerate(tree.levels)
    }
    return {**at_levels, "anytime_score": Mean((score * prior).sum(), traces)}
