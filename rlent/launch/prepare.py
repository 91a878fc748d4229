"""Everything that can go wrong with a recipe, found before a run touches anything."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlent.config import Evaluation, Recipe
from rlent.data import (
    HeldOutSplit,
    check_prompt_lengths,
    load_rows,
    resolve_model,
    separate,
    split_held_out,
)
from rlent.errors import ConfigError
from rlent.interventions import Chain, chain
from rlent.trainer import EntropyGRPOConfig
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
    train: "Dataset"
    held_out: "Dataset | None"
    removed: int
    """Rows left out of training because their prompt is held out."""
    too_long: int
    """Rows dropped because their prompt leaves no room for a completion."""


def prepare(recipe: Recipe, folder: Path) -> Prepared:
    """Load and check what a run in ``folder`` would use; writes nothing.

    Raises:
        ConfigError: the first thing that the user must change.
    """
    import datasets

    # Reading a local file takes moments, and a message about a mistake should stand alone.
    datasets.disable_progress_bars()
    with recipe.source.locating():
        args = build_args(recipe, folder)
        links = chain(recipe.interventions)
        check_needs(links, args)
        check_reward_names(links, [reward.name for reward in recipe.rewards])
        _check_checkpoints(args)
        split = _split(recipe)
        _check_rewards(recipe, split.train)
        model = resolve_model(recipe.model.name, revision=recipe.model.revision)
        tokenizer = _tokenizer(model, recipe.model.revision)
        context = _context(model, recipe.model.revision)
        lengths = check_prompt_lengths(
            split.train,
            tokenizer,
            context,
            args.max_completion_length,
            too_long=recipe.data.too_long,
        )
        if recipe.evaluation is not None:
            check_prompt_lengths(
                split.held_out, tokenizer, context, held_out_length(recipe.evaluation, args)
            )
        return Prepared(
            recipe=recipe,
            args=args,
            chain=links,
            model=model,
            tokenizer=tokenizer,
            train=lengths.rows,
            held_out=split.held_out if recipe.evaluation is not None else None,
            removed=split.removed,
            too_long=lengths.dropped,
        )


def held_out_length(evaluation: Evaluation, args: EntropyGRPOConfig) -> int:
    """Tokens that an answer to a held-out problem may have."""
    return evaluation.max_completion_length or args.max_completion_length


def _check_checkpoints(args: EntropyGRPOConfig) -> None:
    """A checkpoint in the middle of a generation batch would lose the rollouts that are not used yet."""
    every = args.steps_to_fresh_rollouts
    if args.save_strategy == "steps" and args.save_steps % every:
        raise ConfigError(
            "a checkpoint would fall into the middle of a generation batch",
            key="trainer.save_steps",
            expected=f"a multiple of {every}, the optimiser steps until all rollouts are used",
            given=args.save_steps,
        )


def _split(recipe: Recipe) -> HeldOutSplit:
    evaluation = recipe.evaluation
    if evaluation is None:
        return split_held_out(load_rows(recipe.data), 0, recipe.data.seed)
    if evaluation.data is None:
        try:
            return split_held_out(load_rows(recipe.data), evaluation.problems, recipe.data.seed)
        except ConfigError as error:
            error.key = error.key or "evaluation.problems"
            raise
    train = load_rows(recipe.data)
    try:
        held_out = load_rows(evaluation.data)
    except ConfigError as error:
        error.key = f"evaluation.{error.key}"
        raise
    return separate(train, held_out, evaluation.problems)


def _check_rewards(recipe: Recipe, rows: "Dataset") -> None:
    """Ask every reward about the first row, which finds a column that is not there."""
    columns = {name: [value] for name, value in rows[0].items() if name != "prompt"}
    for position, reward in enumerate(recipe.rewards):
        try:
            reward.function(
                prompts=[rows[0]["prompt"]], completions=[""], completion_ids=[[]], **columns
            )
        except ValueError as error:
            key = f"rewards.{position}.{reward.name}"
            raise ConfigError(str(error), key=key) from error


def _tokenizer(model: str, revision: str | None) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model, revision=revision, padding_side="left")


def _context(model: str, revision: str | None) -> int:
    """Longest sequence that the model was built for, in tokens."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model, revision=revision).get_text_config()
    return config.max_position_embeddings
