"""Everything that can go wrong with a recipe, found before a run touches anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlent.config import Evaluation, Recipe
from rlent.data import (
    check_prompt_lengths,
    context_length,
    load_reader,
    resolve_model,
    without_problems,
)
from rlent.data.pictures import COLUMNS
from rlent.errors import ConfigError
from rlent.evaluation import ProblemSet
from rlent.interventions import Chain, chain
from rlent.launch.pictures import check_pictures
from rlent.launch.problem_sets import Reader, make_sets, read_sets
from rlent.launch.rows import RecipeRows, bounded, read_rows, split_rows
from rlent.trainer import EntropyGRPOConfig
from rlent.trainer.adapters import adapter_config
from rlent.trainer.needs import check_needs, check_reward_names
from rlent.trainer.options import build_args

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A recipe whose every name has been found and whose every value fits the others."""

    recipe: Recipe
    args: EntropyGRPOConfig
    chain: Chain
    model: str
    """Folder or hub name."""
    tokenizer: Any
    """Or the processor, where rows have pictures."""
    rows: RecipeRows
    """What the data sections gave, with the problems that were found."""
    train: "Dataset"
    held_out: "Dataset | None"
    removed: int
    """Rows left out of training because their prompt is held out."""
    in_sets: int
    """Rows left out of training because they stand in a further set."""
    too_long: int
    """Rows dropped because their prompt leaves no room for a completion."""
    sets: list[ProblemSet]
    """The evaluation's further sets."""


def prepare(recipe: Recipe, folder: Path) -> Prepared:
    """Load and check what a run in ``folder`` would use; writes nothing.

    Raises:
        ConfigError: the first thing that the user must change.
    """
    import datasets

    # Reading a local file takes moments, and a message about a mistake should stand alone.
    datasets.disable_progress_bars()
    with recipe.source.locating():
        refuse_probe(recipe)
        args = build_args(recipe, folder)
        links = chain(recipe.interventions)
        check_needs(links, args)
        check_pictures(recipe, links)
        adapter_config(recipe.model.adapter)
        check_reward_names(links, [reward.name for reward in recipe.rewards])
        rows = read_rows(recipe)
        check_text_only(recipe, rows.train.rows[0])
        check_rewards(recipe, rows.train.rows[0])
        revision = recipe.model.revision
        model = resolve_model(recipe.model.name, revision=revision)
        tokenizer = load_reader(recipe.data, model, revision)
        context = context_length(model, revision)
        options: Any = args.chat_template_kwargs
        reader = Reader(
            tokenizer=tokenizer,
            context=context,
            length=args.max_completion_length,
            template_options=options,
        )
        rows = bounded(rows, recipe, tokenizer, options)
        split, sets = split_rows(rows, recipe), read_sets(recipe, reader)
        train = without_problems(split, [(each.rows, each.questions) for each in sets.values()])
        lengths = check_prompt_lengths(
            train,
            tokenizer,
            context,
            args.max_completion_length,
            too_long=recipe.data.too_long,
            template_options=options,
        )
        if recipe.evaluation is not None:
            check_prompt_lengths(
                split.held_out,
                tokenizer,
                context,
                held_out_length(recipe.evaluation, args),
                template_options=options,
            )
        return Prepared(
            recipe=recipe,
            args=args,
            chain=links,
            model=model,
            tokenizer=tokenizer,
            rows=rows,
            train=lengths.rows,
            held_out=split.held_out if len(split.held_out) else None,
            removed=split.removed,
            too_long=lengths.dropped,
            in_sets=len(split.train) - len(train),
            sets=make_sets(recipe, sets, reader),
        )


def held_out_length(evaluation: Evaluation, args: EntropyGRPOConfig) -> int:
    """Tokens that an answer to a held-out problem may have."""
    return evaluation.max_completion_length or args.max_completion_length


def refuse_probe(recipe: Recipe) -> None:
    """Refuse a probe of difficulties, which knows the hidden states of one model alone."""
    if recipe.evaluation is not None and recipe.evaluation.difficulty is not None:
        raise ConfigError(
            "the probe reads the hidden states of one model, and training changes them",
            key="evaluation.difficulty",
            given=recipe.evaluation.difficulty,
            remedy="remove it, and give it to the evaluation: rlent eval RECIPE evaluation.difficulty=DIR",
        )


def check_text_only(recipe: Recipe, row: Mapping[str, Any]) -> None:
    """Refuse the columns in which TRL looks for pictures in a recipe that does not speak of them."""
    if recipe.data.pictures:
        return
    for name in COLUMNS:
        if name in row:
            raise ConfigError(
                f"the column {name} holds pictures for TRL, and data.image names none",
                key="data.columns",
                remedy=f"data.image: {name} (docs/vision-language.md), or list the columns that are kept",
            )


def check_rewards(recipe: Recipe, row: Mapping[str, Any]) -> None:
    """Ask every reward about a row, which finds a column that is not there."""
    columns = {name: [value] for name, value in row.items() if name != "prompt"}
    for position, reward in enumerate(recipe.rewards):
        try:
            reward.function(
                prompts=[row["prompt"]], completions=[""], completion_ids=[[]], **columns
            )
        except ValueError as error:
            key = f"rewards.{position}.{reward.name}"
            raise ConfigError(str(error), key=key) from error
