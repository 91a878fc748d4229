"""Reinforcement-learning post-training of language models at the level of single tokens and their entropy.

The names below are the public API. The trainer is imported when it is first asked for, because it brings trl and
transformers with it; everything else needs torch alone.
"""

from typing import TYPE_CHECKING, Any

from rlent.errors import ConfigError, ContractError, RlentError
from rlent.interventions import TABLE, Chain, Intervention, chain
from rlent.interventions.forking_tokens import ForkingTokens
from rlent.types import Rollouts, Selection, Signal, Tokens

if TYPE_CHECKING:
    from rlent.trainer import EntropyGRPOConfig, EntropyGRPOTrainer

__all__ = [
    "TABLE",
    "Chain",
    "ConfigError",
    "ContractError",
    "EntropyGRPOConfig",
    "EntropyGRPOTrainer",
    "ForkingTokens",
    "Intervention",
    "RlentError",
    "Rollouts",
    "Selection",
    "Signal",
    "Tokens",
    "chain",
]


def __getattr__(name: str) -> Any:
    if name in ("EntropyGRPOConfig", "EntropyGRPOTrainer"):
        import rlent.trainer

        return getattr(rlent.trainer, name)
    raise AttributeError(f"module 'rlent' has no attribute {name!r}")
