"""Completions sampled from a Hugging Face causal language model, with what reinforcement learning asks about them.

``RolloutEngine`` in ``engine.py`` is the whole of it; ``Sampling`` says how tokens are drawn, ``Branching`` where
completions fork. The engine is imported when it is first asked for, because it brings transformers with it.
"""

from typing import TYPE_CHECKING, Any

from rlent.rollout.branching import Branching, EntropySpike, FixedStep, LiveSequence, MeanEntropy
from rlent.rollout.budgets import Budgets
from rlent.rollout.decoding import Decoding, DecodingRule
from rlent.rollout.forking import Forking, ForkingRule
from rlent.rollout.records import Completion, Generation, Statistics, Tally
from rlent.rollout.sampling import Sampling

if TYPE_CHECKING:
    from rlent.rollout.engine import RolloutEngine

__all__ = [
    "Branching",
    "Budgets",
    "Completion",
    "Decoding",
    "DecodingRule",
    "EntropySpike",
    "FixedStep",
    "Forking",
    "ForkingRule",
    "Generation",
    "LiveSequence",
    "MeanEntropy",
    "RolloutEngine",
    "Sampling",
    "Statistics",
    "Tally",
]


def __getattr__(name: str) -> Any:
    if name == "RolloutEngine":
        from rlent.rollout.engine import RolloutEngine

        return RolloutEngine
    raise AttributeError(f"module 'rlent.rollout' has no attribute {name!r}")
