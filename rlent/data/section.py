"""The data section of a recipe."""

import math
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSource:
    """One source of rows, and how a row of it becomes a prompt and a reference answer."""

    name: str = ""
    """Hub id (``openai/gsm8k``), folder written by ``save_to_disk``, file or glob of files
    (``.jsonl``, ``.json``, ``.parquet``, ``.csv``), known benchmark (``benchmarks/math500``, see
    `benchmarks.BENCHMARKS`), or generated task (``reasoning_gym/<task>``, ``small/arithmetic``)."""
    config: str | None = None
    """Configuration of a hub dataset."""
    split: str = "train"
    """Split to read. A file, a folder with one table and a generated task have only ``train``."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of a generated task, such as ``{min_terms: 2}``."""
    prompt: str | None = None
    """Template of the prompt over the columns of the source, in the syntax of ``str.format``:
    ``{question}`` inserts a column, ``{extra_info.question}`` a field inside one, ``{{`` and ``}}``
    are literal braces. By default the first of the columns `prompt`, `question`, `problem` that
    exists is the prompt. A column of chat messages is a prompt of its own: it is kept as it is, by
    default or as ``{name}`` alone, and cannot stand among other text."""
    answer: str | None = "answer"
    """Column of the source that holds the reference answer, or a field inside one
    (``reward_model.ground_truth``): one text or number per row. Null where there are no labels, for
    a run whose rewards need none."""
    columns: dict[str, str] | None = None
    """The other columns that rows have, each with the column of the source that fills it, such as
    ``{level: extra_info.level}``. By default all columns of the source, under their own names."""
    system: str | None = None
    """System message put in front of every prompt; for `style` ``chat`` only."""
    image: str | None = None
    """Column of the source that holds the picture of each row, or a list of them: paths, relative to
    the data file, or what the Image feature of datasets holds. A picture stands where the prompt says
    ``<image>``, or in front of it. For `style` ``chat`` and vision-language models only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MixturePart(DataSource):
    """A source that gives a share of the rows."""

    weight: float = 1.0
    """The share is this, divided by the sum of all weights; positive."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a source needs a name")
        if not (self.weight > 0 and math.isfinite(self.weight)):
            raise ValueError(f"weight must be positive and finite, got {self.weight:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSection(DataSource):
    """Where the rows come from, which of them are used, and in what order.

    The rows of a source are put in the order of `seed`, those with problems are dropped or stop the
    run, and the first `size` that are left are taken. Every row gets the columns `prompt` and
    `answer`; its other columns reach the reward functions.
    """

    mixture: tuple[MixturePart, ...] = ()
    """Several sources instead of `name`. Each gives the share of the rows that its weight says, and
    the rows of all are mixed in the order of `seed`."""
    size: int | None = None
    """Number of rows to take. By default all of them, 1000 for a generated task, whose rows all
    have different questions (but for ``small/next_tokens``, which draws with replacement), and for a
    mixture as many as its weights allow without taking a row twice. Rows held out for evaluation are
    taken from these."""
    style: Literal["chat", "plain"] = "chat"
    """``chat``: the prompt is a user message and goes through the model's chat template.
    ``plain``: the prompt is the text itself."""
    chat_template: str | None = None
    """File with a Jinja chat template that takes the place of the model's."""
    seed: int = 0
    """Seed of the order of the rows, and of the generated ones."""
    order: Literal["seed", "source"] = "seed"
    """``source``: the rows of one source stay in its own order, for a curriculum; the trainer keeps it with
    `trainer.shuffle_dataset` false."""
    bad_rows: Literal["stop", "skip"] = "stop"
    """What happens to rows that cannot be read or give no prompt: lines that are not JSON, fields
    that are missing, a conversation without roles, an answer that is a list."""
    no_answer: Literal["stop", "drop"] = "stop"
    """What happens to rows whose reference answer is missing or blank."""
    duplicates: Literal["keep", "drop", "stop"] = "keep"
    """What happens to rows whose prompt an earlier row has, of whatever source."""
    min_prompt_tokens: int | None = None
    """Rows with shorter prompts are dropped; counted with the chat template."""
    max_prompt_tokens: int | None = None
    """Rows with longer prompts are dropped."""
    too_long: Literal["stop", "drop", "error"] = "stop"
    """What happens to prompts that leave no room for the completion in the model's context;
    ``error`` is an older word for ``stop``."""

    def __post_init__(self) -> None:
        if self.too_long == "error":
            object.__setattr__(self, "too_long", "stop")
        if bool(self.name) == bool(self.mixture):
            raise ValueError("the data needs a name, or a mixture, and not both")
        if self.mixture and self.order == "source":
            raise ValueError("order: source needs one source: the rows of a mixture are mixed")
        if self.mixture and (given := _given(self)):
            raise ValueError(f"with a mixture, {given[0]} is said by each of its sources")
        if self.pictures and self.style == "plain":
            raise ValueError("style: plain has no pictures: image needs chat messages")
        if self.pictures and not all(source.image for source in self.sources):
            raise ValueError("every source of a mixture has an image, or none has")
        low, high = self.min_prompt_tokens, self.max_prompt_tokens
        for bound, value in (("min_prompt_tokens", low), ("max_prompt_tokens", high)):
            if value is not None and value < 1:
                raise ValueError(f"{bound} must be at least 1, got {value}")
        if low is not None and high is not None and low > high:
            raise ValueError(f"min_prompt_tokens is more than the most, {high}: no prompt is left")

    @property
    def sources(self) -> tuple[MixturePart, ...]:
        """The sources of the rows: those of the mixture, or the one that is named."""
        if self.mixture:
            return self.mixture
        return (MixturePart(**{name: getattr(self, name) for name in _names()}),)

    @property
    def pictures(self) -> bool:
        """Whether the rows have pictures beside their prompts."""
        return any(source.image is not None for source in self.sources)

    @property
    def title(self) -> str:
        """The source in a few words."""
        return self.name or "mixture of " + ", ".join(part.name for part in self.mixture)


def _names() -> list[str]:
    return [each.name for each in fields(DataSource)]


def _given(section: DataSection) -> list[str]:
    """The fields of a source whose values are not the default ones."""
    defaults = {
        each.name: each.default if each.default_factory is MISSING else each.default_factory()
        for each in fields(DataSource)
    }
    return [name for name in _names() if getattr(section, name) != defaults[name]]
