"""Lengths of prompts in tokens: their distribution, bounds, and the room that the completion needs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rlent.data.load import LoadedData
from rlent.data.pictures import prompts_with_pictures
from rlent.data.prompts import prompt_ids, prompt_text
from rlent.data.section import DataSection
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


@dataclass(frozen=True, kw_only=True, slots=True)
class LengthSummary:
    """Four numbers about lengths, each of them one of the lengths."""

    shortest: int
    median: int
    p95: int
    longest: int


def prompt_lengths(
    rows: "Dataset", tokenizer: Any, template_options: Mapping[str, Any] | None = None
) -> list[int]:
    """Tokens of every prompt as generation sees it, chat prompts through the chat template.

    `tokenizer` is a processor where rows have pictures, each of which it is asked about.

    Raises ConfigError when the model has no chat template for chat rows.
    """
    return [
        len(prompt_ids(prompt, tokenizer, template_options))
        for prompt in prompts_with_pictures(rows)
    ]


def summarize_lengths(lengths: Sequence[int]) -> LengthSummary:
    """Least, median, 95th percentile and most of at least one length.

    The quantile of q is the least length that at least a share q of all does not exceed.
    """
    ordered = sorted(lengths)
    median, p95 = (ordered[math.ceil(share * len(ordered) / 100) - 1] for share in (50, 95))
    return LengthSummary(shortest=ordered[0], median=median, p95=p95, longest=ordered[-1])


def within_bounds(
    data: LoadedData,
    tokenizer: Any,
    section: DataSection,
    template_options: Mapping[str, Any] | None = None,
) -> LoadedData:
    """The rows with ``min_prompt_tokens <= tokens <= max_prompt_tokens``; the others are counted.

    Raises ConfigError when none is left.
    """
    low, high = section.min_prompt_tokens or 0, section.max_prompt_tokens or math.inf
    if (low, high) == (0, math.inf):
        return data
    kept = []
    for i, length in enumerate(prompt_lengths(data.rows, tokenizer, template_options)):
        if low <= length <= high:
            kept.append(i)
            continue
        kind = "too_few_tokens" if length < low else "too_many_tokens"
        data.problems.report(kind, data.places[i], ConfigError(f"{length} tokens"))
    if not kept:
        raise ConfigError(
            f"no prompt has between {low} and {high} tokens",
            key="data.max_prompt_tokens" if section.max_prompt_tokens else "data.min_prompt_tokens",
        )
    return data.select(kept)


def room_for_prompt(limit: int, max_completion_length: int) -> int:
    """Tokens that a prompt may have in a context of `limit`. Raises ConfigError when there are none."""
    room = limit - max_completion_length
    if room < 1:
        raise ConfigError(
            f"completions leave no room for a prompt in a context of {limit} tokens",
            key="trainer.max_completion_length",
            expected=f"less than {limit}",
            given=max_completion_length,
        )
    return room


def check_prompt_lengths(
    rows: "Dataset",
    tokenizer: Any,
    limit: int,
    max_completion_length: int,
    *,
    too_long: Literal["stop", "drop", "error"] = "stop",
    template_options: Mapping[str, Any] | None = None,
) -> PromptLengths:
    """Rows with prompt tokens <= limit - max_completion_length, counted as in generation.

    `limit` is the context of the model in tokens. Raises ConfigError when a prompt is too long
    (unless these are dropped), and when none is left.
    """
    room = room_for_prompt(limit, max_completion_length)
    lengths = prompt_lengths(rows, tokenizer, template_options)
    kept = [row for row, length in enumerate(lengths) if length <= room]
    if len(kept) < len(rows) and (too_long != "drop" or not kept):
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
