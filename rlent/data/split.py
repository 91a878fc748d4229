"""Rows held out for evaluation, disjoint from the training rows by prompt."""

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlent.data.prompts import prompt_text
from rlent.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutSplit:
    """Training and held-out rows that share no prompt."""

    train: "Dataset"
    """Rows in their original order; a prompt may occur several times."""
    held_out: "Dataset"
    """Rows with different prompts, in random order."""
    removed: int
    """Rows in neither part, because their prompt is held out already."""


def split_held_out(rows: "Dataset", count: int, seed: int) -> HeldOutSplit:
    """Hold `count` prompts out, drawn uniformly from the different prompts of `rows`.

    The same rows, count and seed give the same split. Raises ConfigError when no training row
    would be left.
    """
    first: dict[str, int] = {}
    texts = [prompt_text(prompt) for prompt in rows["prompt"]]
    for index, text in enumerate(texts):
        first.setdefault(text, index)
    if not 0 <= count < len(first):
        raise ConfigError(
            f"{count} rows cannot be held out of {len(rows)} rows with {len(first)} "
            "different prompts",
            expected=f"between 0 and {len(first) - 1}",
            given=count,
        )
    drawn = random.Random(seed).sample(list(first), count)
    taken = set(drawn)
    kept = [index for index, text in enumerate(texts) if text not in taken]
    return HeldOutSplit(
        train=rows.select(kept),
        held_out=rows.select([first[text] for text in drawn]),
        removed=len(rows) - len(kept) - count,
    )


def separate(train: "Dataset", held_out: "Dataset", count: int) -> HeldOutSplit:
    """The first `count` different prompts of `held_out`, and the rows of `train` without them.

    Raises ConfigError when `held_out` has fewer different prompts, or no training row is left.
    """
    first: dict[str, int] = {}
    for index, prompt in enumerate(held_out["prompt"]):
        first.setdefault(prompt_text(prompt), index)
    if count > len(first):
        raise ConfigError(
            "there are fewer different held-out prompts",
            key="evaluation.problems",
            expected=f"at most {len(first)}",
            given=count,
        )
    drawn = list(first.values())[:count]
    taken = {prompt_text(held_out[index]["prompt"]) for index in drawn}
    kept = [i for i, prompt in enumerate(train["prompt"]) if prompt_text(prompt) not in taken]
    if not kept:
        raise ConfigError("every training prompt is held out", key="evaluation.data")
    return HeldOutSplit(
        train=train.select(kept), held_out=held_out.select(drawn), removed=len(train) - len(kept)
    )
