"""A set of problems, how it is answered, and the chunks in which that is done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rlent.errors import ConfigError
from rlent.evaluation.difficulty_probe import DifficultyProbe
from rlent.rollout import Budgets, DecodingRule, Sampling

Kind = Literal["greedy", "sampled"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Problems ``start`` to ``stop - 1`` of a set, answered together and in one way."""

    kind: Kind
    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.start:06d}-{self.stop:06d}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProblemSet:
    """Problems with one greedy completion each, and ``samples`` drawn ones.

    The chunks follow from the set alone, so they are the same however many processes share them.
    """

    name: str
    rows: Sequence[Mapping[str, Any]]
    """Each with ``prompt`` and the columns that the reward reads."""
    reward: Callable[..., Sequence[float | None]]
    """A reward function as TRL takes it; None or NaN where it does not apply."""
    length: int
    """Most tokens of a completion."""
    samples: int = 0
    k: tuple[int, ...] = ()
    """Those of pass@k, each between 2 and ``samples``."""
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    """The random numbers of a completion follow from it, the problem's place and the number of the sample."""
    batch_size: int = 64
    """Completions generated at once."""
    decoding: DecodingRule | None = None
    """What the tokens of the drawn ones are drawn from; None for what temperature and top_p say."""

    budget: Budgets | None = None
    """One budget and one summary: thinking is cut there, and the summary scored; None for what is written freely."""
    difficulty: DifficultyProbe | None = None
    """What says each problem's temperature and limit, in the place of `temperature` and within `length`."""

    def __post_init__(self) -> None:
        if self.budget is not None and self.difficulty is not None:
            raise ConfigError(
                "an answer under a budget has no limit that a difficulty could say",
                key="evaluation.difficulty",
                remedy="remove it, or evaluation.budgets",
            )

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """As many problems as have ``batch_size`` completions together, at least one."""
        return (
            *self._chunks("greedy", self.batch_size),
            *(self._chunks("sampled", self.batch_size // self.samples) if self.samples else ()),
        )

    def _chunks(self, kind: Kind, size: int) -> tuple[Chunk, ...]:
        count, size = len(self.rows), max(size, 1)
        starts = range(0, count, size)
        return tuple(
            Chunk(kind=kind, start=start, stop=min(start + size, count)) for start in starts
        )

    def sampling(self, kind: Kind, ends: Sequence[int]) -> Sampling:
        """The engine's settings; ``ends`` are the tokens that end a completion."""
        greedy = kind == "greedy"
        return Sampling(
            max_new_tokens=self.length,
            temperature=0.0 if greedy else self.temperature,
            top_p=1.0 if greedy else self.top_p,
            eos_token_ids=tuple(ends),
        )
