"""Dataset and model names of a recipe, resolved to rows and folders."""

from rlent.data.lengths import (
    LengthSummary,
    PromptLengths,
    check_prompt_lengths,
    prompt_lengths,
    room_for_prompt,
    summarize_lengths,
    within_bounds,
)
from rlent.data.load import LoadedData, load_data, load_rows
from rlent.data.models import resolve_model
from rlent.data.pictures import prompt_with_pictures
from rlent.data.prompts import prompt_ids, prompt_text
from rlent.data.section import DataSection, DataSource, MixturePart
from rlent.data.split import HeldOutSplit, separate, split_held_out, without_problems
from rlent.data.tokenizer import context_length, load_reader, load_tokenizer

__all__ = [
    "DataSection",
    "DataSource",
    "HeldOutSplit",
    "LengthSummary",
    "LoadedData",
    "MixturePart",
    "PromptLengths",
    "check_prompt_lengths",
    "context_length",
    "load_data",
    "load_reader",
    "load_rows",
    "load_tokenizer",
    "prompt_ids",
    "prompt_lengths",
    "prompt_text",
    "prompt_with_pictures",
    "resolve_model",
    "room_for_prompt",
    "separate",
    "split_held_out",
    "summarize_lengths",
    "within_bounds",
    "without_problems",
]
