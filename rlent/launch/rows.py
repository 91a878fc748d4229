"""The rows of a recipe: read, bounded by their prompts' lengths, and split."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rlent.config import Recipe
from rlent.data import (
    DataSection,
    HeldOutSplit,
    LoadedData,
    load_data,
    separate,
    split_held_out,
    within_bounds,
)
from rlent.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeRows:
    """What the data sections of a recipe gave, before anything was held out."""

    train: LoadedData
    held_out: LoadedData | None
    """Rows of the evaluation's own data; None where the problems are taken from the training data."""


def read_rows(recipe: Recipe) -> RecipeRows:
    """All rows that the recipe names. Raises ConfigError, with the key of the section that is wrong."""
    train, section = load_data(recipe.data), held_out_section(recipe)
    if section is None:
        return RecipeRows(train=train, held_out=None)
    with _in_evaluation():
        refuse_chat_template(section)
        return RecipeRows(train=train, held_out=load_data(section))


def bounded(
    rows: RecipeRows, recipe: Recipe, tokenizer: Any, template_options: Mapping[str, Any] | None
) -> RecipeRows:
    """The rows whose prompts are within the bounds of their sections; the others are counted."""
    train = within_bounds(rows.train, tokenizer, recipe.data, template_options)
    section = held_out_section(recipe)
    if rows.held_out is None or section is None:
        return RecipeRows(train=train, held_out=None)
    with _in_evaluation():
        held_out = within_bounds(rows.held_out, tokenizer, section, template_options)
    return RecipeRows(train=train, held_out=held_out)


def split_rows(rows: RecipeRows, recipe: Recipe) -> HeldOutSplit:
    """Training and held-out rows that share no prompt and no question."""
    train, evaluation, seed = rows.train, recipe.evaluation, recipe.data.seed
    if evaluation is None:
        return split_held_out(train.rows, 0, seed)
    if rows.held_out is not None:
        questions = (train.questions, rows.held_out.questions)
        return separate(train.rows, rows.held_out.rows, evaluation.problems, questions)
    try:
        return split_held_out(train.rows, evaluation.problems, seed, train.questions)
    except ConfigError as error:
        error.key = error.key or "evaluation.problems"
        raise


def refuse_chat_template(section: DataSection) -> None:
    """Raise ConfigError for evaluation data with a chat template of its own."""
    if section.chat_template is not None:
        raise ConfigError(
            "one chat template serves training and evaluation",
            key="data.chat_template",
            remedy="set data.chat_template",
        )


def held_out_section(recipe: Recipe) -> DataSection | None:
    """The section of the evaluation's own data, if there is one."""
    return None if recipe.evaluation is None else recipe.evaluation.data


@contextmanager
def _in_evaluation() -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        error.key = f"evaluation.{error.key}"
        raise
