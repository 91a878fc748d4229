"""The evaluation section of a recipe."""

import re
from dataclasses import dataclass, field

from rlent.data.section import DataSection
from rlent.rollout import Budgets, Decoding
from rlent_rewards import Correctness

HELD_OUT = "held_out"
"""Name of the set of held-out problems."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSet:
    """Further problems, which are evaluated with drawn completions as well. Null is the section's setting."""

    data: DataSection
    """Where the problems come from, all of them; ``{name: benchmarks/math500}`` for a known benchmark."""
    reward: str | Correctness | None = None
    """What scores: the name of a listed reward, or a reward of its own such as ``{multiple_choice: {}}``."""
    every: int | None = None
    """Optimiser steps between evaluations; 0 evaluates only before and after training."""
    samples: int | None = None
    """Completions drawn per problem."""
    k: tuple[int, ...] | None = None
    """Those of pass@k."""
    max_completion_length: int | None = None
    """Tokens per answer."""

    def __post_init__(self) -> None:
        _check_bounds(self, {"every": 0, "samples": 0, "max_completion_length": 1})
        _check_k(self.k)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Problems that are answered during training, and by ``rlent eval``.

    Every problem is answered greedily. ``rlent eval`` and the sets also draw ``samples`` completions, for avg@k, pass@k
    and maj@k; the held-out problems get none of these during training.
    """

    problems: int = 128
    """Number of held-out problems, at least 1; 0 where there are sets and nothing is to be held out."""
    every: int = 10
    """Optimiser steps between evaluations; 0 evaluates only before and after training."""
    data: DataSection | None = None
    """Where the held-out problems come from; null takes them out of the training data's source."""
    max_completion_length: int | None = None
    """Tokens per answer, at least 1; null is the trainer's setting."""
    batch_size: int = 64
    """Completions generated at once, at least 1."""
    show: int = 3
    """Answers printed after each evaluation."""
    reward: str | None = None
    """Name of the listed reward that scores; null is the first."""
    sets: dict[str, EvaluationSet] = field(default_factory=dict)
    """Further problems by name, such as ``{math500: {data: {name: benchmarks/math500}}}``."""
    samples: int = 0
    """Completions drawn per problem, besides the greedy one."""
    k: tuple[int, ...] | None = None
    """Those of pass@k, from 2 to `samples` (pass@1 is the greedy completion's); null is the powers of 2."""
    temperature: float = 1.0
    """Of the drawn completions, more than 0."""
    top_p: float = 1.0
    """Of the drawn completions: the fewest most probable tokens that hold this much are kept; 1 keeps all."""
    seed: int = 0
    """Of the drawn completions."""
    decoding: Decoding | None = None
    """What the tokens of the drawn completions are drawn from, as in ``{typical: {mass: 0.95}}``."""

    budgets: Budgets | None = None
    """Token budgets of thinking: every set is evaluated once at each of them, under the name ``<set>@<tokens>``."""
    difficulty: str | None = None
    """Folder of a saved probe: ``rlent eval`` answers each problem at the temperature and within the share of
    `max_completion_length` of the difficulty that the probe predicts (the greedy completion: within it alone)."""

    def __post_init__(self) -> None:
        bounds = {"problems": 1, "every": 0, "max_completion_length": 1, "batch_size": 1, "show": 0}
        _check_bounds(self, bounds | {"problems": 0 if self.sets else 1, "samples": 0})
        _check_k(self.k)
        if self.temperature <= 0:
            raise ValueError(
                f"temperature must be more than 0, got {self.temperature:g}: the greedy completion is made anyway"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p:g}")
        for name in self.sets:
            if not re.fullmatch(r"[\w-][\w.-]*", name) or name == HELD_OUT:
                raise ValueError(
                    f"sets: {name!r} is no name for a set: letters, digits, -, _ and ., and not {HELD_OUT}"
                )
        self._check_decoding()
        self._check_difficulty()
        if self.budgets is not None and self.budgets.summaries != 1:
            raise ValueError(
                f"budgets: every completion has one summary here: summaries must be 1, got {self.budgets.summaries}"
            )
        self._check_most("", None)
        for name, each in self.sets.items():
            self._check_most(f"sets: {name}: ", each)

    def _check_decoding(self) -> None:
        if self.decoding is None:
            return
        if not self.decoding.rule.evaluates:
            raise ValueError(
                f"decoding: {self.decoding.rule.name} follows the generation batches of a training run; "
                "use it in rollout.decoding"
            )
        if self.budgets is not None and not self.decoding.rule.summarises:
            raise ValueError(
                f"decoding: {self.decoding.rule.name} and budgets cannot be had together: remove one of the two"
            )
        if not any(map(self.samples_of, (None, *self.sets.values()))):
            raise ValueError(
                "decoding is about drawn completions, and samples is 0: the greedy one stays greedy"
            )

    def _check_difficulty(self) -> None:
        if self.difficulty is None:
            return
        if self.temperature != 1:
            raise ValueError(
                f"temperature is that of each problem's difficulty: remove temperature, got {self.temperature:g}, "
                "or difficulty"
            )
        for name in ("decoding", "budgets"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"difficulty and {name} cannot be had together: remove one of the two"
                )

    def _check_most(self, where: str, each: EvaluationSet | None) -> None:
        samples = self.samples_of(each)
        if k := [k for k in self.k_of(each) if k > samples]:
            raise ValueError(f"{where}k must be at most samples, {samples}, got {k[0]}")

    @property
    def needs_a_listed_reward(self) -> bool:
        return self.problems > 0 or any(each.reward is None for each in self.sets.values())

    @property
    def named_rewards(self) -> list[tuple[str, str]]:
        """Dotted key and name of every listed reward that is asked for."""
        asked = {f"evaluation.sets.{name}.reward": each.reward for name, each in self.sets.items()}
        asked["evaluation.reward"] = self.reward
        return [(key, reward) for key, reward in asked.items() if isinstance(reward, str)]

    def every_of(self, each: EvaluationSet) -> int:
        """Optimiser steps between evaluations of a set."""
        return self.every if each.every is None else each.every

    def samples_of(self, each: EvaluationSet | None) -> int:
        """Completions drawn per problem of a set, or of the held-out problems."""
        return self.samples if each is None or each.samples is None else each.samples

    def k_of(self, each: EvaluationSet | None) -> tuple[int, ...]:
        """Those of pass@k: as given, or the powers of 2 from 2 up to the number of samples."""
        given = self.k if each is None or each.k is None else each.k
        powers = tuple(2**i for i in range(1, self.samples_of(each).bit_length()))
        return powers if given is None else given


def _check_bounds(section: object, bounds: dict[str, int]) -> None:
    for name, bound in bounds.items():
        value = getattr(section, name)
        if value is not None and value < bound:
            raise ValueError(f"{name} must be at least {bound}, got {value}")


def _check_k(k: tuple[int, ...] | None) -> None:
    if k is not None and (len(set(k)) < len(k) or any(each < 2 for each in k)):
        raise ValueError(
            f"k must be different numbers of at least 2, got {list(k)}: pass@1 is the greedy completion's, "
            "and avg@samples that of the drawn ones"
        )
