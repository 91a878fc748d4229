"""The ``trainer`` section of a recipe with a ``loss`` -> the arguments of TRL's trainer for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlent.config import Recipe
from rlent.errors import ConfigError
from rlent.losses import Loss
from rlent.trainer.loss_config import TokenDPOConfig, TokenLossConfig, TokenSFTConfig
from rlent.trainer.options import MANAGED, checked_options, option_types, shared_options

_GENERATES = frozenset(
    {
        "use_vllm",
        "rollout_engine",
        "max_live_sequences",
        "budgets",
        "reward_weights",
    }
)
_OWN = {
    "remove_unused_columns": "no key: the columns that a loss reads have fixed names",
    "eval_strategy": "no key: nothing is evaluated during training",
    "eval_steps": "no key: nothing is evaluated during training",
}


def build_loss_args(recipe: Recipe, loss: Loss, folder: Path) -> TokenLossConfig:
    """The trainer's arguments for a run in ``folder``: TRL's SFTConfig or DPOConfig, by what the loss reads.

    Raises:
        ConfigError: an unknown key, a wrong type, a value out of range, a key that another section or the loss owns, or
            values that TRL refuses together.
    """
    config = TokenSFTConfig if loss.reads == "completions" else TokenDPOConfig
    options = checked_options(recipe.trainer, option_types(config), _managed())
    try:
        return config(**{**shared_options(recipe, folder), **options})
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error), key="trainer") from error


def _managed() -> Mapping[str, str]:
    shared: dict[str, Any] = {
        name: owner for name, owner in MANAGED.items() if name not in _GENERATES
    }
    return shared | _OWN
