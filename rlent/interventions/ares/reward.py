"""Fewer uncertain windows on easy prompts, more on hard ones, by the reward of wrong completions.

Chen et al., "ARES: Multimodal Adaptive Reasoning via Difficulty-Aware Token-Level Entropy Shaping", arXiv 2510.08457,
Section 3.2 (AEPO). With ``N`` a completion's number of tokens in high windows (``windows.py``) and ``d`` the difficulty
of its prompt (``difficulty.py``)::

    R        = reward - 1[wrong] lambda_d g_d(N - Target_d)
    g_easy   = max(0, x)        g_medium = |x|        g_hard = max(0, -x)
    Target_d = mean N of the difficulty
    lambda_d = max(0, (mean_d N - Target_d) / (Var_d N + eps))

The mean and variance are over the scored completions of all ranks. What the paper leaves open is a named choice here:

* With ``Target_d`` the mean of the same batch ``lambda_d`` is identically 0, and nothing is shaped. By default
  ``Target_d`` is a moving mean of the batches *before*, and a difficulty without one is not shaped. ``target: batch``
  is the letter of the paper and needs a ``strength`` of its own.
* As printed, hard prompts are punished for too few windows only while there are more than the target on average.
* ``eps``, and how fast the target moves: no value was found. Appendix H counts single tokens in place of windows
  (``window: 1``), and among them only those of a list of trigger words that a language model has filtered; without
  ``triggers``, all are counted.

Read: notes on the paper's full text, and the released code, which is another reward (``as_released``; golden cases).
With ``m`` a margin, ``c_d`` a cap (``_RELEASED_SHAPE``), ``h`` Huber's function and ``s`` the sigmoid, it adds::

    easy, correct    -min(c, c h(max(0, x - m)) / (m + k))       medium alike with |x|
    hard, correct    s((x + m) / T) c  where x >= -m,  else  -min(c, c h(-x - m) / (2 (m + k)))
    wrong            s(max(0, x - m) / T) c f                    f: 0.6 easy, 0.8 medium, 1 hard

so that it punishes correct completions of easy prompts, and rewards every wrong one with at least ``c f / 2``. The
strength in ``c_d`` moves by 0.05 times the difference of ``mean_d N`` and the target; since the target is that mean
rounded, only the rounding moves it. The released count takes the most likely token for the trigger words, rlent the
sampled one; its entropies are of the ten most likely tokens, rlent's of all. Branching at high windows is not part of
this. Recipe::

    interventions:
      - ares_reward: {window: 4}
"""

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from rlent.interventions.ares.difficulty import HARD, MEDIUM, NAMES
from rlent.interventions.ares.windows import Threshold, Windows
from rlent.interventions.stages import Mean, Metrics
from rlent.reduce import Reduce
from rlent.types import Rollouts

_RELEASED_SHAPE = {
    "margin": (0.15, 0.25, 0.35),
    "bend": (2.0, 3.0, 4.0),
    "temperature": (2.0, 2.5, 3.0),
    "cap": (1.0, 1.0, 1.2),
    "wrong": (0.6, 0.8, 1.0),
}
"""Constants of the released reward for easy, medium and hard prompts."""
_RELEASED_STRENGTH, _RELEASED_RATE, _RELEASED_LARGEST = 0.5, 0.05, 2.0

Three = tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class AresReward(Windows):
    """Shape the reward by how many high windows a completion has, and how hard its prompt is."""

    name: ClassVar[str] = "ares_reward"
    paper: ClassVar[str] = "ARES, arXiv 2510.08457"
    writes: ClassVar[frozenset[str]] = frozenset({"reward"})

    strength: float | None = None
    """lambda_d, reward per token; None is the paper's formula. 0 leaves rewards as they are."""
    variance_floor: float = 1.0
    """eps of lambda_d, squared tokens. Ours."""
    target: Literal["earlier", "batch"] = "earlier"
    """Whose mean count is the target: earlier batches', or this batch's own."""
    target_momentum: float = 0.9
    """Share of the earlier target in the new one, with ``target: earlier``. Ours."""
    triggers: tuple[str, ...] = ()
    """Words that a token must be to count, lower case; none are all tokens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strength is not None and not 0.0 <= self.strength < math.inf:
            raise ValueError(f"strength must be 0 or positive, got {self.strength}")
        if not 0.0 < self.variance_floor < math.inf:
            raise ValueError(f"variance_floor must be positive, got {self.variance_floor}")
        if not 0.0 <= self.target_momentum < 1.0:
            raise ValueError(f"target_momentum must be in [0, 1), got {self.target_momentum}")
        if self.target == "batch" and self.strength is None and not self.as_released:
            raise ValueError(
                "target: batch makes the paper's lambda 0 for every batch; set strength, or use target: earlier"
            )
        self._refuse_settings_without_effect()
        for word in self.triggers:
            if word != normalised(word) or not word:
                raise ValueError(
                    f"triggers must be words in lower case without spaces around, got {word!r}"
                )

    def _refuse_settings_without_effect(self) -> None:
        unread = {
            "variance_floor": self.strength is not None,
            "target_momentum": self.target == "batch",
        }
        for name, is_unread in unread.items():
            if is_unread and getattr(self, name) != getattr(AresReward, name):
                other = "strength" if name == "variance_floor" else "target: batch"
                raise ValueError(f"{name} has no effect with {other}; remove one of the two")

    @property
    def released(self) -> dict[str, object]:
        return super().released | {
            "strength": None,
            "target": "batch",
            "variance_floor": AresReward.variance_floor,
            "target_momentum": AresReward.target_momentum,
        }

    @classmethod
    def neutral(cls) -> "AresReward":
        return cls(strength=0.0)

    @property
    def needs(self) -> frozenset[str]:
        words = {"vocabulary"} if self.triggers else set[str]()
        return frozenset({"old_entropy", "whole_groups"} | words)

    def build(self) -> "AresRewardStages":
        return AresRewardStages(self)


class AresRewardStages:
    """Threshold, targets, and in the released form strengths, which move from batch to batch."""

    def __init__(self, config: AresReward) -> None:
        self._config = config
        self._threshold = Threshold(config)
        self._target: Three = (None,) * 3
        self._strength: Three = (_RELEASED_STRENGTH if config.as_released else None,) * 3
        self._trigger_ids: Tensor | None = None

    def on_rewards(self, rollouts: Rollouts) -> tuple[Float[Tensor, " n"], Metrics]:
        config = self._config
        right, scored, grade = config.graded(rollouts)
        threshold = self._threshold.of(rollouts)
        counts = self._counts(rollouts, threshold)
        moments = Moments.of(counts, grade, scored, rollouts.reduce)
        shaping = self._shaping(counts, right, grade, moments, rollouts.train)
        shaping = torch.where(scored, shaping, 0.0)
        metrics: dict[str, Any] = {
            "threshold": threshold,
            "count": Mean(counts[scored].sum(), scored.sum()),
            "shaping": Mean(shaping.sum(), scored.sum()),
        }
        for number, name in enumerate(NAMES):
            metrics[name] = Mean((scored & (grade == number)).sum(), scored.sum())
            metrics[f"count_{name}"] = float(moments.mean[number])
        return rollouts.reward + shaping.to(rollouts.reward.dtype), metrics

    def _counts(self, rollouts: Rollouts, threshold: float) -> Float64[Tensor, " n"]:
        assert rollouts.old_entropy is not None
        high = self._config.high(rollouts.old_entropy, rollouts.mask, threshold)
        if self._config.triggers:
            high = high & torch.isin(rollouts.completion_ids, self._triggers(rollouts))
        return high.sum(1).double()

    def _triggers(self, rollouts: Rollouts) -> Int[Tensor, " v"]:
        """Numbers of the tokens that are a trigger word."""
        if self._trigger_ids is None:
            assert rollouts.vocabulary is not None
            words = frozenset(self._config.triggers)
            ids = [i for i, text in enumerate(rollouts.vocabulary) if normalised(text) in words]
            self._trigger_ids = torch.tensor(ids, dtype=torch.long)
        return self._trigger_ids.to(rollouts.completion_ids.device)

    def _shaping(
        self, counts: Tensor, right: Tensor, grade: Tensor, moments: "Moments", train: bool
    ) -> Float64[Tensor, " n"]:
        config = self._config
        if config.as_released:
            target = released_targets(moments, self._target)
            strength = released_strengths(moments, target, self._strength)
            if train:
                self._target, self._strength = target, strength
            return released_shaping(counts, right, grade, target=target, strength=strength)
        batch = tuple(m if n else None for m, n in zip(*moments.lists, strict=True))
        target = self._target if config.target == "earlier" else batch
        if train and config.target == "earlier":
            self._target = tuple(map(self._moved, self._target, batch))
        strengths = tuple(
            map(self._lambda, target, moments.mean.tolist(), moments.variance.tolist())
        )
        return paper_shaping(counts, right, grade, target=target, strength=strengths)

    def _lambda(self, target: float | None, mean: float, variance: float) -> float:
        config = self._config
        if config.strength is not None or target is None:
            return config.strength or 0.0
        return max(0.0, (mean - target) / (variance + config.variance_floor))

    def _moved(self, before: float | None, now: float | None) -> float | None:
        if before is None or now is None:
            return before if now is None else now
        momentum = self._config.target_momentum
        return momentum * before + (1 - momentum) * now

    def state_dict(self) -> dict[str, Any]:
        return {
            "threshold": self._threshold.value,
            "target": list(self._target),
            "strength": list(self._strength),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._threshold.value = state["threshold"]
        self._target, self._strength = tuple(state["target"]), tuple(state["strength"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """Of the counts of each difficulty, over all ranks; 0 where there is none."""

    number: Float64[Tensor, "3"]
    mean: Float64[Tensor, "3"]
    variance: Float64[Tensor, "3"]

    @classmethod
    def of(cls, counts: Tensor, grade: Tensor, scored: Tensor, reduce: Reduce) -> "Moments":
        member = (torch.nn.functional.one_hot(grade, 3) * scored.unsqueeze(1)).double()
        sums = torch.stack([member.sum(0), counts @ member, counts.square() @ member])
        number, total, squares = reduce.sum(sums)
        mean = total / number.clamp(min=1)
        # Counts are whole numbers: their sums of squares are exact, and nothing is lost in the difference.
        variance = (squares / number.clamp(min=1) - mean.square()).clamp(min=0)
        return cls(number=number, mean=mean, variance=variance)

    @property
    def lists(self) -> tuple[list[float], list[float]]:
        """Means and numbers."""
        return self.mean.tolist(), self.number.tolist()


def paper_shaping(
    counts: Float64[Tensor, " n"],
    right: Bool[Tensor, " n"],
    grade: Int[Tensor, " n"],
    *,
    target: Three,
    strength: Three,
) -> Float64[Tensor, " n"]:
    """``-1[wrong] lambda_d g_d(N - Target_d)``; 0 where the difficulty has no target."""
    known = torch.tensor([each is not None for each in target], device=grade.device)[grade]
    excess = counts - _by_grade(target, grade)
    by_grade = torch.stack([excess.relu(), excess.abs(), (-excess).relu()])
    distance = by_grade.gather(0, grade.unsqueeze(0)).squeeze(0)
    return torch.where(known & ~right, -_by_grade(strength, grade) * distance, 0.0)


def released_shaping(
    counts: Float64[Tensor, " n"],
    right: Bool[Tensor, " n"],
    grade: Int[Tensor, " n"],
    *,
    target: Three,
    strength: Three,
) -> Float64[Tensor, " n"]:
    """What the released reward adds to the accuracy."""
    share, bend, temperature, scale, wrong = (
        _by_grade(values, grade) for values in _RELEASED_SHAPE.values()
    )
    aim = _by_grade(target, grade)
    excess = counts - aim
    margin = (share * aim.clamp(min=1)).clamp(min=1)
    cap = _by_grade(strength, grade) * scale

    def punished(distance: Tensor, factor: float) -> Tensor:
        return -cap.minimum(factor * _huber(distance, bend) / (margin + bend) * cap)

    distance = torch.where(grade == MEDIUM, excess.abs(), excess) - margin
    hard = torch.where(
        excess >= -margin,
        ((excess + margin) / temperature).sigmoid() * cap,
        punished(-excess - margin, 0.5),
    )
    correct = torch.where(grade == HARD, hard, punished(distance, 1.0))
    mistaken = ((excess - margin).relu() / temperature).sigmoid() * cap * wrong
    return torch.where(right, correct, mistaken)


def _huber(distance: Tensor, bend: Tensor) -> Tensor:
    """``x^2 / 2k`` up to ``k`` and ``x - k/2`` beyond, of ``max(0, x)``."""
    distance = distance.relu()
    return torch.where(distance <= bend, distance.square() / (2 * bend), distance - bend / 2)


def released_targets(moments: Moments, before: Three) -> Three:
    """Targets of the released code: the rounded means, and the earlier ones where there is no completion."""
    pairs = zip(*moments.lists, before, strict=True)
    return tuple(float(round(mean)) if number else old for mean, number, old in pairs)


def released_strengths(moments: Moments, target: Three, before: Three) -> Three:
    """Strengths of the released code, which move with the difference of mean and target."""
    moved: list[float | None] = []
    for grade, (mean, number) in enumerate(zip(*moments.lists, strict=True)):
        old, aim = before[grade], target[grade]
        assert old is not None
        if not number or aim is None:
            moved.append(old)
            continue
        excess = aim - mean if grade == HARD else mean - aim
        moved.append(min(max(old + _RELEASED_RATE * excess, 0.0), _RELEASED_LARGEST))
    return tuple(moved)


def _by_grade(values: Three, grade: Tensor) -> Float64[Tensor, " n"]:
    """The value of each completion's difficulty, 0 for None."""
    table = [0.0 if value is None else float(value) for value in values]
    return torch.tensor(table, dtype=torch.float64, device=grade.device)[grade]


def normalised(text: str) -> str:
    """A token's text as the trigger words are written: without the marks of a word's beginning, in lower case."""
    return re.sub(r"^[▁Ġ]+", "", text).strip().lower()
