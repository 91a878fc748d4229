"""Rewards that grow with entropy in correct completions and with certainty in wrong ones.

Tan et al., "GTPO and GRPO-S: Token and Sequence-Level Reward Shaping with Policy Entropy", arXiv 2508.04349. Of the
completions of a prompt, ``d_t`` correct and ``h_t`` wrong ones have a token at position ``t``. GTPO, Eq. 3 and 5::

    r+_{i,t} =  base + bonus * H_{i,t} / mean_k H_{k,t}             mean over the d_t correct ones, 0 on wrong tokens
    r-_{j,t} = -base - bonus * (1/H_{j,t}) / mean_k (1/H_{k,t})     mean over the h_t wrong ones, 0 on correct tokens

(the paper writes ``H / sum_k H_k * d_t``) with ``H`` the entropy under the generating policy (nats, Eq. 4). The
advantage is ``r+`` on correct and ``r-`` on wrong tokens, each minus its mean and divided by its deviation (Eq. 6).
GRPO-S, Eq. 8 and 9, is the same with one position per completion, at which ``H`` is the mean over its tokens. The mean
of ``r+`` over the correct tokens of a position is ``base + bonus``: entropy moves the reward between completions and
adds none. The advantage that GRPO computed is replaced.

Read: an anonymous submission with the title and abstract of the sixth arXiv version; no released code was found. What
it leaves open is a named choice here:

* What is normalised. "Over all tokens in the entire batch", but also "all positive and negative sequences in the
  group, respectively" (Eq. 6). The zeros of Eq. 3 and 5 have a purpose only if they are counted, and only then is the
  advantage "sign-consistent" (Remark 2.5), so they are by default. See ``normalise`` for what the other reading loses.
* Signs. With the defaults a correct token's advantage is positive while fewer than ``base / (base + bonus)`` (91%) of
  the group's tokens are correct, and likewise for wrong ones. Where all completions have one outcome, only the entropy
  term is left, blown up to deviation 1; the paper does not say whether it removed such prompts, as DAPO does.
* Scope. The equations compare the completions of one prompt; Section 4 says that the implementation "operates at the
  batch level, which compares entropy across different problems". Which of the two was measured is not known.
* Deviation and the two small constants (Remark 2.1 gives no value): the unbiased one and 1e-4, as GRPO has them in TRL,
  and entropies of at least 1e-8, which keeps the mean of ``r+`` exact also where all entropies are 0.
* "Entropy is clipped at 0.2, 0.28" (Section 3.1) has the values of DAPO's clip of the ratio and is read as that:
  ``trainer.epsilon`` and ``epsilon_high``. Entropies are not clipped.
* Appendix D, for prompts that are neither easy nor hard: the text that could be read ends before the case of no more
  correct than wrong completions. None of them is punished here.

Not part of this intervention: the denominators (Eq. 7 is ``trainer.loss_type: dapo``, Eq. 10 ``grpo``) and GRPO-S's
ratio of sequences: ``trainer.importance_sampling_level: sequence_arithmetic`` is Eq. 11, ``sequence`` the geometric
mean of Appendix C. Recipe::

    interventions:
      - entropy_weighted_reward: {level: token}
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Float64, Int, Shaped
from torch import Tensor

from rlent.advantages import EPSILON
from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.reduce import LOCAL, Reduce
from rlent.types import Rollouts

ENTROPY_FLOOR = 1e-8
"""Nats. Keeps 1/H finite, and its sums over many thousands of completions inside float32."""


@dataclass(frozen=True, kw_only=True)
class EntropyWeightedReward(Intervention):
    """Replace the advantage by that of a reward weighted with entropy, per token (GTPO) or completion (GRPO-S).

    Completions without a score (NaN) or without a token take no part and have advantage 0.
    """

    name: ClassVar[str] = "entropy_weighted_reward"
    paper: ClassVar[str] = "GTPO and GRPO-S, arXiv 2508.04349"
    writes: ClassVar[frozenset[str]] = frozenset({"advantage"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"advantage"})

    level: Literal["token", "sequence"] = "token"
    """``token`` is GTPO (Eq. 3-6); ``sequence`` is GRPO-S (Eq. 8-9), one number for all tokens of a completion."""
    base: float = 1.0
    """Reward of the outcome itself, positive if correct and negative if wrong (alpha_1, beta_1). If base and bonus
    are both 0, the advantage is left as it is."""
    bonus: float = 0.1
    """Mean size of the entropy term (alpha_2, beta_2)."""
    normalise: Literal["each_over_all", "sum_over_all", "each_over_own"] = "each_over_all"
    """What Eq. 6 subtracts and divides by. ``each_over_all``: mean and deviation of r+ over all correct and wrong
    tokens, 0 on wrong ones; r- likewise. ``sum_over_all``: one mean and deviation of r+ + r- over the same tokens.
    ``each_over_own``: r+ over correct tokens only, r- over wrong tokens only. Then ``base`` and ``bonus`` cancel, the
    mean advantage of correct tokens is 0 like that of wrong ones, and nothing says which completions were correct."""
    mean: Literal["arithmetic", "geometric"] = "arithmetic"
    """Mean that an entropy is compared with. ``geometric`` is Appendix C: r+ = base + bonus * H / (prod_k H_k)^(1/d_t)
    over the correct completions with a token at t (a finished one counts as 1), r- likewise with 1/H, and at level
    sequence also the entropy of a completion. The ratios are not bounded: one token of entropy 1 among d tokens of the
    floor 1e-8 has the ratio 1e8^(1 - 1/d)."""
    scope: Literal["group", "batch"] = "group"
    """Completions that are compared and normalised together: those of one prompt (the equations), or those of the
    generation batch on all ranks (Section 4)."""
    correct: float = 0.5
    """A completion with a reward above this is correct."""
    reward: str | None = None
    """Name of the listed reward that says what is correct, before its weight; None is the whole reward."""
    overlong_easy: float | None = None
    """gamma_1 in (0.5, 1) of Appendix D's punishment of long correct completions, for which the paper gives no value;
    None is no punishment. Correct completions of |o| tokens get base * (1 - 0.5 * max(|o| / L - 1, 0)) in place of
    base, where L = max((shortest + longest) / 2, mean length): over the correct completions if at least this share of
    the prompt's scored completions is correct, else over all scored ones if more are correct than wrong; otherwise,
    which includes the paper's hard prompts, there is no punishment. The paper's case of 2 L tokens and more cannot
    occur, because L is more than half of the longest: less than half of base is lost."""

    def __post_init__(self) -> None:
        for name in ("base", "bonus"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and >= 0, got {getattr(self, name)}")
        if not math.isfinite(self.correct):
            raise ValueError(f"correct must be finite, got {self.correct}")
        if self.overlong_easy is not None and not 0.5 < self.overlong_easy < 1:
            raise ValueError(
                f"overlong_easy must be in (0.5, 1), got {self.overlong_easy}; "
                "at 0.5 a prompt would be easy and hard at once"
            )

    @classmethod
    def neutral(cls) -> "EntropyWeightedReward":
        return cls(base=0.0, bonus=0.0)

    @property
    def needs(self) -> frozenset[str]:
        compares_groups = self.scope == "group" or self.overlong_easy is not None
        return frozenset({"old_entropy"} | ({"whole_groups"} if compares_groups else set()))

    @property
    def named_rewards(self) -> frozenset[str]:
        return frozenset() if self.reward is None else frozenset({self.reward})

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        """Weight the outcome of every completion with the entropies it was generated at, and normalise."""
        tokens = self._tokens(rollouts, advantage.dtype)
        penalty = self._overlong_penalty(tokens, _groups(rollouts))
        if self.base or self.bonus:
            units = tokens if self.level == "token" else self._completions(tokens)
            normalised = self._normalise(*self._shape(units, penalty), units)
            advantage = fill(normalised.expand_as(tokens.scored), tokens.scored)
        metrics = _metrics(advantage, tokens)
        if self.overlong_easy is not None:
            correct = tokens.correct.any(1, keepdim=True)
            metrics["overlong_share"] = Mean((penalty < 0).sum(), correct.sum())
        return advantage, metrics

    def _tokens(self, rollouts: Rollouts, dtype: torch.dtype) -> "_Units":
        assert rollouts.old_entropy is not None
        reward = rollouts.named_reward(self.reward).unsqueeze(1)
        right = reward > self.correct
        entropy = fill(rollouts.old_entropy.to(dtype), rollouts.mask, 1.0)
        return _Units(
            entropy=entropy.clamp(min=ENTROPY_FLOOR),
            correct=rollouts.mask & right,
            wrong=rollouts.mask & ~right & ~reward.isnan(),
            segments=_groups(rollouts) if self.scope == "group" else _batch(rollouts),
        )

    def _completions(self, tokens: "_Units") -> "_Units":
        """Every completion as one unit with the mean entropy of its tokens, Eq. 8."""
        length = tokens.scored.sum(1, keepdim=True).clamp(min=1)
        if self.mean == "geometric":
            entropy = (
                fill(tokens.entropy.log(), tokens.scored).sum(1, keepdim=True) / length
            ).exp()
        else:
            entropy = fill(tokens.entropy, tokens.scored).sum(1, keepdim=True) / length
        return _Units(
            entropy=entropy.clamp(min=ENTROPY_FLOOR),
            correct=tokens.correct.any(1, keepdim=True),
            wrong=tokens.wrong.any(1, keepdim=True),
            segments=tokens.segments,
        )

    def _shape(
        self, units: "_Units", penalty: Float[Tensor, "n 1"]
    ) -> tuple[Float[Tensor, "n u"], Float[Tensor, "n u"]]:
        """``r+`` and ``r-``, Eq. 3, 5 and 9."""
        high = self._relative(units.entropy, units.correct, units.segments)
        sure = self._relative(1 / units.entropy, units.wrong, units.segments)
        positive = fill(self.base * (1 + penalty) + self.bonus * high, units.correct)
        return positive, fill(-self.base - self.bonus * sure, units.wrong)

    def _relative(
        self, values: Float[Tensor, "n u"], active: Bool[Tensor, "n u"], segments: "_Segments"
    ) -> Float[Tensor, "n u"]:
        """Active values over the mean of their segment's active values in the same column."""
        count = segments.column_sums(active.to(values.dtype)).clamp(min=1)
        if self.mean == "geometric":
            logs = fill(values.log(), active)
            return fill((logs - segments.column_sums(logs) / count).exp(), active)
        mean = segments.column_sums(fill(values, active)) / count
        return fill(values, active) / fill(mean, active, 1.0)

    def _normalise(
        self, positive: Float[Tensor, "n u"], negative: Float[Tensor, "n u"], units: "_Units"
    ) -> Float[Tensor, "n u"]:
        """Eq. 6 in the reading that ``normalise`` names; 0 on units without an outcome."""
        scored, segments = units.scored, units.segments
        match self.normalise:
            case "sum_over_all":
                return _standardise(positive + negative, scored, segments)
            case "each_over_all":
                over_correct, over_wrong = scored, scored
            case "each_over_own":
                over_correct, over_wrong = units.correct, units.wrong
        return torch.where(
            units.correct,
            _standardise(positive, over_correct, segments),
            _standardise(negative, over_wrong, segments),
        )

    def _overlong_penalty(self, tokens: "_Units", groups: "_Segments") -> Float[Tensor, "n 1"]:
        """Appendix D: what a long correct completion loses, as a share of ``base`` in (-0.5, 0]."""
        length = tokens.scored.sum(1, keepdim=True).to(tokens.entropy.dtype)
        if self.overlong_easy is None:
            return torch.zeros_like(length)
        correct, wrong = tokens.correct.any(1, keepdim=True), tokens.wrong.any(1, keepdim=True)
        right, failed = groups.totals(correct), groups.totals(wrong)
        easy = right / (right + failed).clamp(min=1) >= self.overlong_easy
        medium = ~easy & (right > failed)
        knee = _knee(length, correct | (medium & wrong), groups)
        return fill(-0.5 * (length / knee - 1).clamp(min=0), correct & (easy | medium))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segments:
    """Rows that share their statistics: a prompt's group, whole on this rank, or all rows of all ranks."""

    row: Int[Tensor, " n"]
    """Number of each row's segment, in ``0..count-1``."""
    count: int
    reduce: Reduce

    def column_sums(self, values: Float[Tensor, "n u"]) -> Float[Tensor, "n u"]:
        """For every row, the sum of each column over its segment. Ranks may be of unequal width."""
        width = values.shape[1]
        widest = int(self.reduce.max(torch.tensor(width, device=values.device)))
        sums = values.new_zeros(self.count, widest)
        sums[:, :width].index_add_(0, self.row, values)
        return self.reduce.sum(sums)[self.row, :width]

    def totals(self, values: Shaped[Tensor, "n u"]) -> Float64[Tensor, "n 1"]:
        """For every row, the sum over its segment; in float64, so that equal values have exactly their mean."""
        return self.column_sums(values.sum(1, keepdim=True, dtype=torch.float64))

    def largest(self, values: Float[Tensor, "n 1"]) -> Float[Tensor, "n 1"]:
        """For every row, the largest value of its segment."""
        most = values.new_full((self.count, 1), -math.inf)
        most = most.scatter_reduce(0, self.row.unsqueeze(1), values, "amax")
        return self.reduce.max(most)[self.row]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Units:
    """What is rewarded: the tokens [n t], or every completion as one unit [n 1]."""

    entropy: Float[Tensor, "n u"]
    """Nats, at least ``ENTROPY_FLOOR`` and finite also where there is no unit."""
    correct: Bool[Tensor, "n u"]
    wrong: Bool[Tensor, "n u"]
    segments: _Segments

    @property
    def scored(self) -> Bool[Tensor, "n u"]:
        return self.correct | self.wrong


def _groups(rollouts: Rollouts) -> _Segments:
    numbers, row = rollouts.group.unique(return_inverse=True)
    return _Segments(row=row, count=len(numbers), reduce=LOCAL)


def _batch(rollouts: Rollouts) -> _Segments:
    return _Segments(row=torch.zeros_like(rollouts.group), count=1, reduce=rollouts.reduce)


def _standardise(
    values: Float[Tensor, "n u"], counted: Bool[Tensor, "n u"], segments: _Segments
) -> Float[Tensor, "n u"]:
    """``(value - mean) / (std + 1e-4)`` over the counted units of each segment; 0 on the others."""
    count = segments.totals(counted)
    mean = segments.totals(fill(values, counted)) / count.clamp(min=1)
    centred = fill(values - mean.to(values.dtype), counted)
    variance = segments.totals(centred.square()) / (count - 1).clamp(min=1)
    return centred / (variance.sqrt() + EPSILON).to(values.dtype)


def _knee(
    length: Float[Tensor, "n 1"], counted: Bool[Tensor, "n 1"], groups: _Segments
) -> Float[Tensor, "n 1"]:
    """``max((shortest + longest) / 2, mean)`` of the counted lengths of each group."""
    longest = groups.largest(fill(length, counted))
    shortest = -groups.largest(fill(-length, counted, -math.inf))
    mean = groups.totals(fill(length, counted)) / groups.totals(counted).clamp(min=1)
    return torch.maximum((shortest + longest) / 2, mean.to(length.dtype))


def _metrics(advantage: Float[Tensor, "n t"], tokens: _Units) -> dict[str, Mean]:
    """Mean advantages by outcome and, for correct tokens, by entropy above and below their segment's mean."""
    correct, wrong, segments = tokens.correct, tokens.wrong, tokens.segments
    middle = segments.totals(fill(tokens.entropy, correct)) / segments.totals(correct).clamp(min=1)
    high = correct & (tokens.entropy > middle)
    chosen = {
        "advantage_correct": correct,
        "advantage_wrong": wrong,
        "advantage_correct_high_entropy": high,
        "advantage_correct_low_entropy": correct & ~high,
    }
    return {name: Mean(fill(advantage, mask).sum(), mask.sum()) for name, mask in chosen.items()}
