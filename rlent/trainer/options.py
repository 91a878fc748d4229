"""A recipe's ``trainer`` section -> ``EntropyGRPOConfig``.

Keys are TRL's and Hugging Face's. Some belong to other sections of the recipe, because rlent must know of them; these
are refused with the name of the section.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, get_type_hints

import torch
from annotated_types import Ge, Gt
from pydantic_core import to_jsonable_python

from rlent.config import Recipe
from rlent.config.validate import check_keys, parse_value
from rlent.errors import ConfigError
from rlent.rollout import Decoding, Forking
from rlent.sharding import accelerator_config, deepspeed_config
from rlent.trainer.config import EntropyGRPOConfig
from rlent.trainer.losses import READ_HERE, refuse_unread

MANAGED: dict[str, str] = {
    "output_dir": "output_dir and name, at the top of the recipe",
    "run_name": "name, at the top of the recipe",
    "bf16": "engine.precision",
    "fp16": "engine.precision",
    "deepspeed": "engine.zero, or engine.deepspeed for a file",
    "accelerator_config": "engine",
    "activation_checkpointing": "engine.gradient_checkpointing",
    "gradient_checkpointing": "engine.gradient_checkpointing",
    "non_finite": "engine.non_finite",
    "ddp_timeout": "engine.timeout",
    "use_cpu": "no key: an accelerator is used where there is one",
    "report_to": "tracking",
    "disable_tqdm": "no key: the progress view adapts to the terminal",
    "use_vllm": "rollout.engine",
    "rollout_engine": "rollout.engine",
    "max_live_sequences": "rollout.max_live",
    "decoding": "rollout.decoding",
    "branching": "rollout.branching",
    "budgets": "rollout.budgets",
    "model_init_kwargs": "model.options",
    "reward_weights": "the weight of each reward",
    "remove_unused_columns": "no key: reward functions need every column",
    "resume_from_checkpoint": "the command line: --resume",
    "eval_strategy": "evaluation",
    "eval_steps": "evaluation.every",
}
"""TRL options that another part of the recipe sets."""

RANGES: dict[str, Any] = {
    "learning_rate": Ge(0),
    "weight_decay": Ge(0),
    "max_grad_norm": Ge(0),
    "num_train_epochs": Gt(0),
    "per_device_train_batch_size": Ge(1),
    "gradient_accumulation_steps": Ge(1),
    "num_generations": Ge(2),
    "num_iterations": Ge(1),
    "steps_per_generation": Ge(1),
    "max_completion_length": Ge(1),
    "temperature": Gt(0),
    "epsilon": Ge(0),
    "epsilon_high": Ge(0),
    "beta": Ge(0),
    "logging_steps": Gt(0),
    "save_steps": Gt(0),
}
"""Bounds that TRL does not check by itself."""


def build_args(recipe: Recipe, folder: Path) -> EntropyGRPOConfig:
    """The trainer's arguments for a run in ``folder``.

    Raises:
        ConfigError: an unknown key, a wrong type, a value out of range, a key that another section owns, or values that
            TRL refuses together.
    """
    _check_rollout_engine(recipe.rollout.engine)
    options = written_options(recipe)
    _check_generation_batch(options)
    try:
        return EntropyGRPOConfig(
            **{**shared_options(recipe, folder), **_rollout_options(recipe), **options}
        )
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error), key="trainer") from error


def written_options(recipe: Recipe) -> dict[str, Any]:
    """The recipe's ``trainer`` section, each key and value looked at for itself.

    Raises:
        ConfigError: an unknown key, a wrong type, a value out of range, a key that another section owns, or an option
            that the surrogate does not read.
    """
    options = checked_options(recipe.trainer, _types(), MANAGED)
    refuse_unread(loss_settings(options), recipe.trainer.__contains__)
    return options


def checked_options(
    written: Mapping[str, Any], types: Mapping[str, Any], managed: Mapping[str, str]
) -> dict[str, Any]:
    """The keys and values of a ``trainer`` section, each looked at for itself.

    Args:
        types: option -> its type.
        managed: option -> the part of the recipe that sets it.

    Raises:
        ConfigError: an unknown key, a wrong type, a value out of range, or a key that another section owns.
    """
    for name, owner in managed.items():
        if name in written:
            raise ConfigError(
                "this option is set elsewhere in a recipe",
                key=f"trainer.{name}",
                given=written[name],
                remedy=f"remove it and use {owner}",
            )
    check_keys(written, types, "trainer")
    return {
        name: parse_value(types[name], value, f"trainer.{name}") for name, value in written.items()
    }


def option_types(config: type) -> dict[str, Any]:
    """Option -> its type, with the bounds that TRL does not check."""
    hints = get_type_hints(config)
    types = {field.name: hints[field.name] for field in fields(config) if field.init}
    for name, bound in RANGES.items():
        if name in types:
            types[name] = Annotated[types[name], bound]
    return types


def loss_settings(options: Mapping[str, Any]) -> SimpleNamespace:
    """What ``rlent.trainer.losses`` reads of these options, with defaults for the others."""
    defaults = EntropyGRPOConfig.__dataclass_fields__
    return SimpleNamespace(
        **{name: options.get(name, defaults[name].default) for name in READ_HERE}
    )


def option(recipe: Recipe, name: str) -> Any:
    """One of these, or its default."""
    default = EntropyGRPOConfig.__dataclass_fields__[name].default
    return written_options(recipe).get(name, default)


def _check_rollout_engine(engine: str) -> None:
    if engine == "vllm" and find_spec("vllm") is None:
        raise ConfigError(
            "vLLM is not installed",
            key="rollout.engine",
            given=engine,
            remedy="pip install 'rlent[vllm]', or use rollout.engine: native",
        )


@cache
def _types() -> dict[str, Any]:
    return option_types(EntropyGRPOConfig)


def shared_options(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """What the recipe's other sections say, for any trainer, and rlent's defaults where they differ from TRL's."""
    precision = resolve_precision(recipe.engine.precision)
    return {
        "output_dir": str(folder),
        "run_name": recipe.name,
        "bf16": precision == "bfloat16",
        "fp16": precision == "float16",
        # Under DeepSpeed `use_cpu` would turn DeepSpeed off, and the device is DS_ACCELERATOR's to say.
        "use_cpu": not torch.accelerator.is_available() and not recipe.engine.uses_deepspeed,
        "deepspeed": deepspeed_config(recipe.engine, precision),
        "accelerator_config": accelerator_config(recipe.engine),
        "activation_checkpointing": recipe.engine.gradient_checkpointing,
        "non_finite": recipe.engine.non_finite,
        "ddp_timeout": recipe.engine.timeout,
        "report_to": ["wandb"] if recipe.tracking.wandb is not None else [],
        "model_init_kwargs": {
            "dtype": recipe.model.dtype,
            "revision": recipe.model.revision,
            **recipe.model.options,
        },
        "remove_unused_columns": False,
        "eval_strategy": "no",
        "logging_steps": 1,
        "save_total_limit": 2,
        "dataloader_pin_memory": torch.accelerator.is_available(),
    }


def _rollout_options(recipe: Recipe) -> dict[str, Any]:
    return {
        "use_vllm": recipe.rollout.engine == "vllm",
        "rollout_engine": "native" if recipe.rollout.engine == "native" else "transformers",
        "max_live_sequences": recipe.rollout.max_live,
        "decoding": _named(recipe.rollout.decoding),
        "branching": _named(recipe.rollout.branching),
        "budgets": asdict(budgets) if (budgets := recipe.rollout.budgets) else None,
        "reward_weights": [reward.weight for reward in recipe.rewards] or None,
    }


def _named(choice: Decoding | Forking | None) -> dict[str, Any] | None:
    """The one that is given, with its options, as plain values."""
    given = {} if choice is None else to_jsonable_python(choice)
    return {name: options for name, options in given.items() if options is not None} or None


def resolve_precision(precision: str) -> str:
    """``auto`` as bfloat16 where the hardware multiplies it, else float32."""
    if precision != "auto":
        return precision
    if torch.accelerator.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    multiplies = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if multiplies else "float32"


def _check_generation_batch(options: dict[str, Any]) -> None:
    """TRL's own message speaks of generation_batch_size, which few recipes set."""
    defaults = {field.name: field.default for field in fields(EntropyGRPOConfig)}

    def value(name: str) -> Any:
        return options.get(name, defaults[name])

    if value("generation_batch_size") is not None:
        return
    rows = value("per_device_train_batch_size")
    steps = value("steps_per_generation") or value("gradient_accumulation_steps")
    ranks = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    generations = value("num_generations")
    if rows * steps * ranks % generations:
        raise ConfigError(
            "groups do not fit into the generation batch",
            key="trainer.num_generations",
            expected=(
                f"a divisor of {rows * steps * ranks} = per_device_train_batch_size {rows} * "
                f"steps per generation {steps} * processes {ranks}"
            ),
            given=generations,
        )
