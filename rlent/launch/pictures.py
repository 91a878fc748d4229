"""What does not work with pictures, refused before anything is read or written."""

from dataclasses import fields

from rlent.config import Evaluation, Recipe
from rlent.data import DataSection
from rlent.errors import ConfigError
from rlent.interventions import Chain
from rlent.interventions.stages import OnFilter

OWN_ENGINE = "rlent's own engine, which reads text alone"
_READ_IN_TRAINING = frozenset(
    {"problems", "every", "data", "max_completion_length", "batch_size", "show", "reward"}
)
"""Settings of the evaluation of held-out problems during training; the others are about sets and ``rlent eval``."""
_MICRO_BATCHES = ("tokens_per_micro_batch", "sort_by_length", "skip_idle_rollouts")
"""Options of the trainer that rearrange micro-batches, which stay as they are where there are pictures."""


def check_pictures(recipe: Recipe, links: Chain) -> None:
    """Refuse what cannot be trained with pictures, or has no effect with them; nothing for a recipe without.

    Raises:
        ConfigError: names the key.
    """
    check_sections(recipe)
    if not recipe.data.pictures:
        return
    if recipe.rollout.engine == "native":
        raise ConfigError(
            f"completions come from {OWN_ENGINE}",
            key="rollout.engine",
            given="native",
            remedy="rollout.engine: transformers, or vllm",
        )
    for name in _MICRO_BATCHES:
        if name in recipe.trainer:
            raise ConfigError(
                "has no effect with pictures: micro-batches are TRL's",
                key=f"trainer.{name}",
                remedy="remove it; trainer.per_device_train_batch_size is the size of a micro-batch",
            )
    for position, link in enumerate(links.links):
        if isinstance(link.stages, OnFilter):
            problem = "completions with pictures cannot be given up"
        elif "prompt_logp" in link.config.needs:
            problem = "prompts with pictures cannot be learnt from"
        else:
            continue
        raise ConfigError(
            problem,
            key=f"interventions.{position}.{link.config.name}",
            remedy="remove it, or data.image",
        )
    if recipe.evaluation is not None:
        _check_evaluation(recipe.evaluation)


def check_sections(recipe: Recipe) -> None:
    """Refuse pictures in some sections of data and not in others: one reader serves them all.

    Raises:
        ConfigError: names the section.
    """
    evaluation = recipe.evaluation
    if evaluation is None:
        return
    held_out = {} if evaluation.data is None else {"evaluation.data": evaluation.data}
    sets = {f"evaluation.sets.{name}.data": each.data for name, each in evaluation.sets.items()}
    if recipe.data.pictures and sets:
        raise ConfigError(
            f"sets are answered by {OWN_ENGINE}",
            key="evaluation.sets",
            remedy="remove them; evaluation.problems are answered with pictures during training",
        )
    for key, section in {**held_out, **sets}.items():
        if section.pictures != recipe.data.pictures:
            there = "training rows have pictures, and these have none"
            raise ConfigError(
                there
                if recipe.data.pictures
                else "these rows have pictures, and training rows none",
                key=f"{key}.image",
                remedy="name the column of pictures in both sections, or in none",
            )


def refuse_pictures(section: DataSection, what: str, remedy: str) -> None:
    """Raise ConfigError for a section with pictures where ``what`` reads text alone."""
    if section.pictures:
        raise ConfigError(f"{what} reads text alone", key="data.image", remedy=remedy)


def _check_evaluation(evaluation: Evaluation) -> None:
    defaults = Evaluation()
    for name in (field.name for field in fields(Evaluation)):
        given = getattr(evaluation, name)
        if name not in _READ_IN_TRAINING and given != getattr(defaults, name):
            raise ConfigError(
                f"has no effect with pictures: it is about answers of {OWN_ENGINE}",
                key=f"evaluation.{name}",
                given=given,
                remedy="remove it",
            )
