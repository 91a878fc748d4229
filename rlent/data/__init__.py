"""Dataset and model names of a recipe, resolved to rows and folders."""

from rlent.data.lengths import PromptLengths, check_prompt_lengths
from rlent.data.models import resolve_model
from rlent.data.prompts import prompt_ids, prompt_text
from rlent.data.section import DataSection
from rlent.data.sources import load_rows
from rlent.data.split import HeldOutSplit, separate, split_held_out

__all__ = [
    "DataSection",
    "HeldOutSplit",
    "PromptLengths",
    "check_prompt_lengths",
    "load_rows",
    "prompt_ids",
    "prompt_text",
    "resolve_model",
    "separate",
    "split_held_out",
]
