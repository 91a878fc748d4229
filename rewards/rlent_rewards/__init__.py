"""Reward functions for TRL's trainers, and the checking of answers behind them.

A reward is called with the completions of a batch and the columns of the dataset, and returns one
number per completion. ``REWARDS`` maps the name that a recipe writes to the class behind it.

To add a reward:

1. Write one file with one frozen dataclass. Its fields are the recipe's options, each with a
   docstring under it. ``__name__`` is the name in the table, ``__call__`` follows
   ``protocol.Reward``. Weights belong to the recipe.
2. Add the class to ``REWARDS``. The laws in ``tests/rewards/test_laws.py`` then run for it.
"""

from rlent_rewards.format import Format
from rlent_rewards.math_answer import MathAnswer
from rlent_rewards.protocol import Reward, completion_text

REWARDS: dict[str, type] = {
    "format": Format,
    "math_answer": MathAnswer,
}

__all__ = ["REWARDS", "Format", "MathAnswer", "Reward", "completion_text"]
