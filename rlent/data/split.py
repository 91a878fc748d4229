"""Rows for evaluation, disjoint from the training rows by prompt and by question."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlent.data.prompts import prompt_identities
from rlent.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutSplit:
    """Training and held-out rows that share no prompt and no question."""

    train: "Dataset"
    """Rows in their original order; a prompt may occur several times."""
    held_out: "Dataset"
    """Rows with different prompts, in random order."""
    removed: int
    """Rows in neither part, because their prompt or question is held out already."""
    questions: list[str]
    """What the training rows ask, without templates."""


def split_held_out(
    rows: "Dataset", count: int, seed: int, questions: Sequence[str] | None = None
) -> HeldOutSplit:
    """Hold `count` prompts out, drawn uniformly from the different prompts of `rows`.

    No training row has a held-out prompt, nor asks a held-out question in other words around it:
    `questions` are the rows' texts without templates, the prompts themselves by default. The same
    rows, count and seed give the same split. Raises ConfigError when no training row would be left.
    """
    texts = prompt_identities(rows)
    first = _first_rows(texts)
    if not 0 <= count < len(first):
        raise ConfigError(
            f"{count} rows cannot be held out of {len(rows)} rows with {len(first)} "
            "different prompts",
            expected=f"between 0 and {len(first) - 1}",
            given=count,
        )
    drawn = [first[text] for text in random.Random(seed).sample(list(first), count)]
    asked = texts if questions is None else questions
    kept = _untaken(texts, {texts[i] for i in drawn}, asked, {asked[i] for i in drawn})
    if not kept:
        raise ConfigError("every question of a training row is held out", given=count)
    return HeldOutSplit(
        train=rows.select(kept),
        held_out=rows.select(drawn),
        removed=len(rows) - len(kept) - count,
        questions=[asked[i] for i in kept],
    )


def separate(
    train: "Dataset",
    held_out: "Dataset",
    count: int,
    questions: tuple[Sequence[str], Sequence[str]] | None = None,
) -> HeldOutSplit:
    """The first `count` different prompts of `held_out`, and the rows of `train` without them.

    `questions` are the texts of both without templates, as in `split_held_out`. Raises ConfigError
    when `held_out` has fewer different prompts, or no training row is left.
    """
    texts, held_texts = prompt_identities(train), prompt_identities(held_out)
    first = _first_rows(held_texts)
    if count > len(first):
        raise ConfigError(
            "there are fewer different held-out prompts",
            key="evaluation.problems",
            expected=f"at most {len(first)}",
            given=count,
        )
    drawn = list(first.values())[:count]
    asked, held_asked = (texts, held_texts) if questions is None else questions
    kept = _untaken(texts, {held_texts[i] for i in drawn}, asked, {held_asked[i] for i in drawn})
    if not kept:
        raise ConfigError("every training prompt is held out", key="evaluation.data")
    return HeldOutSplit(
        train=train.select(kept),
        held_out=held_out.select(drawn),
        removed=len(train) - len(kept),
        questions=[asked[i] for i in kept],
    )


def without_problems(
    split: HeldOutSplit, problems: Sequence[tuple["Dataset", Sequence[str]]]
) -> "Dataset":
    """The training rows of `split` that have no prompt and ask no question of `problems`.

    `problems` are rows with their texts without templates. Raises ConfigError when no row is left.
    """
    prompts = {text for rows, _ in problems for text in prompt_identities(rows)}
    asked = {question for _, questions in problems for question in questions}
    texts = prompt_identities(split.train)
    kept = _untaken(texts, prompts, split.questions, asked)
    if not kept:
        raise ConfigError("every training prompt is evaluated", key="evaluation.sets")
    return split.train.select(kept)


def _first_rows(texts: Sequence[str]) -> dict[str, int]:
    first: dict[str, int] = {}
    for index, text in enumerate(texts):
        first.setdefault(text, index)
    return first


def _untaken(
    texts: Sequence[str], taken: set[str], questions: Sequence[str], asked: set[str]
) -> list[int]:
    both = enumerate(zip(texts, questions, strict=True))
    return [i for i, (text, question) in both if text not in taken and question not in asked]
