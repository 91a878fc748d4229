"""Prompts that leave no room for the completion."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rlent.data.prompts import prompt_ids, prompt_text
from rlent.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset

SHOWN_CHARACTERS = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptLengths:
    """Rows whose prompts fit, and what was found."""

    rows: "Dataset"
    """The rows that fit, in their order."""
    dropped: int
    """Number of rows that were too long."""
    longest: int
    """Tokens of the longest prompt that was kept."""


def check_prompt_lengths(
    rows: "Dataset",
    tokenizer: Any,
    limit: int,
    max_completion_length: int,
    *,
    too_long: Literal["error", "drop"] = "error",
) -> PromptLengths:
    """Rows with prompt tokens <= limit - max_completion_length, counted as in generation.

    `limit` is the context of the model in tokens. Chat prompts are counted through the chat
    template with its generation prompt. Raises ConfigError when a prompt is too long (unless
    these are dropped), when none is left, and when the model has no chat template for chat rows.
    """
    room = limit - max_completion_length
    if room < 1:
        raise ConfigError(
            f"completions leave no room for a prompt in a context of {limit} tokens",
            key="trainer.max_completion_length",
            expected=f"less than {limit}",
            given=max_completion_length,
        )
    lengths = [len(prompt_ids(prompt, tokenizer)) for prompt in rows["prompt"]]
    kept = [row for row, length in enumerate(lengths) if length <= room]
    if len(kept) < len(rows) and (too_long == "error" or not kept):
        raise _too_long(rows, lengths, room)
    return PromptLengths(
        rows=rows if len(kept) == len(rows) else rows.select(kept),
        dropped=len(rows) - len(kept),
        longest=max((lengths[row] for row in kept), default=0),
    )


def _too_long(rows: "Dataset", lengths: list[int], room: int) -> ConfigError:
    worst = max(range(len(lengths)), key=lengths.__getitem__)
    count = sum(length > room for length in lengths)
    start = prompt_text(rows[worst]["prompt"])[:SHOWN_CHARACTERS]
    return ConfigError(
        f"{count} of {len(rows)} prompts are too long; the longest is row {worst} with "
        f"{lengths[worst]} tokens: {start!r}",
        key="data.too_long",
        expected=f"at most {room} tokens (context minus trainer.max_completion_length)",
        given=lengths[worst],
        remedy="lower trainer.max_completion_length, or set data.too_long: drop"
        if count < len(rows)
        else "lower trainer.max_completion_length, or shorten data.prompt",
    )
