"""The data section of a recipe."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSection:
    """Where the rows come from, and how a row becomes a prompt and a reference answer.

    Rows are shuffled with `seed`, the first `size` are taken, and every row gets the columns
    `prompt` and `answer`; its other columns stay as they are and reach the reward functions.
    """

    name: str
    """Hub id (``openai/gsm8k``), folder written by ``save_to_disk``, file or glob of files
    (``.jsonl``, ``.json``, ``.parquet``, ``.csv``), or generated task (``reasoning_gym/<task>``,
    ``small/arithmetic``)."""
    config: str | None = None
    """Configuration of a hub dataset."""
    split: str = "train"
    """Split to read. A file, a folder with one table and a generated task have only ``train``."""
    size: int | None = None
    """Number of rows to take; all of them by default, 1000 for a generated task, whose rows all
    have different questions. Rows held out for evaluation are taken from these."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of a generated task, such as ``{min_terms: 2}``."""
    prompt: str | None = None
    """Template of the prompt over the columns of the source, in the syntax of ``str.format``:
    ``{question}`` inserts a column, ``{{`` and ``}}`` are literal braces. By default the first of
    the columns `prompt`, `question`, `problem` that exists is the prompt. A prompt that already
    is a list of chat messages is kept as it is and takes no template."""
    answer: str | None = "answer"
    """Column of the source that holds the reference answer: one text or number per row. Null where
    there are no labels, for a run whose rewards need none."""
    system: str | None = None
    """System message put in front of every prompt; for `style` ``chat`` only."""
    style: Literal["chat", "plain"] = "chat"
    """``chat``: the prompt is a user message and goes through the model's chat template.
    ``plain``: the prompt is the text itself."""
    seed: int = 0
    """Seed of the order of the rows, and of the generated ones."""
    too_long: Literal["error", "drop"] = "error"
    """What happens to prompts that leave no room for the completion in the model's context."""
