"""The sets of problems that a recipe's evaluation asks for, loaded and checked."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlent.config import EvaluationSet, Recipe
from rlent.config.evaluation import HELD_OUT
from rlent.data import LoadedData, check_prompt_lengths, load_data, within_bounds
from rlent.errors import ConfigError
from rlent.evaluation import ProblemSet, at_budgets
from rlent.launch.pictures import check_sections, refuse_pictures
from rlent.launch.rows import bounded, read_rows, refuse_chat_template, split_rows
from rlent.rollout.budgets import ForcedTokens

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """What prompts are read with."""

    tokenizer: Any
    context: int
    """Of the model, in tokens."""
    length: int
    """Most tokens of a completion where the evaluation does not say it."""
    template_options: Mapping[str, Any] | None


def read_sets(
    recipe: Recipe, reader: Reader, names: tuple[str, ...] | None = None
) -> dict[str, LoadedData]:
    """The rows of the evaluation's further sets, or those of ``names``.

    Raises:
        ConfigError: rows cannot be read.
    """
    check_sections(recipe)
    sets = {} if recipe.evaluation is None else recipe.evaluation.sets
    return {
        name: _read(name, each, reader)
        for name, each in sets.items()
        if names is None or name in names
    }


def make_sets(recipe: Recipe, rows: Mapping[str, LoadedData], reader: Reader) -> list[ProblemSet]:
    """The sets that have been read.

    Raises:
        ConfigError: rows are too long, or the reward cannot score them.
    """
    made = []
    for name, loaded in rows.items():
        with _in_set(name):
            made += _problem_sets(recipe, name, loaded.rows, reader)
    return made


def load_held_out(recipe: Recipe, reader: Reader) -> list[ProblemSet]:
    """The held-out problems as a set of their own, the same ones as in training, or as one for every budget.

    Raises:
        ConfigError: as ``read_sets`` and ``make_sets``.
    """
    refuse_pictures(
        recipe.data,
        "rlent eval",
        "train with evaluation.problems: held-out problems are answered with pictures during training",
    )
    rows = bounded(read_rows(recipe), recipe, reader.tokenizer, reader.template_options)
    return _problem_sets(recipe, None, split_rows(rows, recipe).held_out, reader)


def _read(name: str, each: EvaluationSet, reader: Reader) -> LoadedData:
    with _in_set(name):
        refuse_chat_template(each.data)
        loaded = load_data(each.data)
        return within_bounds(loaded, reader.tokenizer, each.data, reader.template_options)


def _problem_sets(
    recipe: Recipe, name: str | None, rows: "Dataset", reader: Reader
) -> list[ProblemSet]:
    """The set, or one for every budget at which thinking is cut."""
    made, evaluation = _problem_set(recipe, name, rows, reader), recipe.evaluation
    assert evaluation is not None
    if (budgets := evaluation.budgets) is not None:
        forced = ForcedTokens.of(budgets, reader.tokenizer, "evaluation.budgets")
        longest = budgets.levels[-1] + forced.most + budgets.summary_length
        if longest > made.length:
            raise ConfigError(
                "thinking, forced tokens and summary are longer than an answer may be",
                key="evaluation.max_completion_length",
                expected=f"at least {longest}",
                given=made.length,
            )
    return at_budgets(made, budgets)


def _problem_set(recipe: Recipe, name: str | None, rows: "Dataset", reader: Reader) -> ProblemSet:
    evaluation = recipe.evaluation
    assert evaluation is not None
    each = None if name is None else evaluation.sets[name]
    length = (each and each.max_completion_length) or evaluation.max_completion_length
    length = length or reader.length
    kept = check_prompt_lengths(
        rows,
        reader.tokenizer,
        reader.context,
        length,
        too_long="stop" if each is None else each.data.too_long,
        template_options=reader.template_options,
    ).rows
    if evaluation.decoding is not None:
        evaluation.decoding.rule.check_tokenizer(reader.tokenizer)
    reward = recipe.scoring((each and each.reward) or evaluation.reward)
    _check_references(reward, kept, "evaluation.reward" if name is None else "reward")
    return ProblemSet(
        name=HELD_OUT if name is None else name,
        rows=kept.to_list(),
        reward=reward,
        length=length,
        samples=evaluation.samples_of(each),
        k=evaluation.k_of(each),
        temperature=evaluation.temperature,
        top_p=evaluation.top_p,
        seed=evaluation.seed,
        batch_size=evaluation.batch_size,
        decoding=None if evaluation.decoding is None else evaluation.decoding.rule,
    )


def _check_references(reward: Callable[..., Any], rows: "Dataset", key: str) -> None:
    """Ask the reward about every row: a reference that it cannot use is found before anything is generated."""
    columns = {name: list(rows[name]) for name in rows.column_names if name != "prompt"}
    count = len(rows)
    try:
        reward(
            prompts=list(rows["prompt"]),
            completions=[""] * count,
            completion_ids=[[]] * count,
            **columns,
        )
    except ValueError as error:
        raise ConfigError(str(error), key=key) from error


@contextmanager
def _in_set(name: str) -> Iterator[None]:
    """Give an error about a set the key of that set."""
    try:
        yield
    except ConfigError as error:
        if (error.key or "").partition(".")[0] in ("data", "reward"):
            error.key = f"evaluation.sets.{name}.{error.key}"
        raise
