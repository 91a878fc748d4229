"""Reward functions for TRL's trainers, and the checking of answers behind them.

A reward is called with the completions of a batch and the columns of the dataset, and returns one
number per completion. ``REWARDS`` maps the name that a recipe writes to the class behind it.

To add a reward:

1. Write one file with one frozen dataclass. Its fields are the recipe's options, each with a
   docstring under it. ``__name__`` is the name in the table, ``__call__`` follows
   ``protocol.Reward``. Weights belong to the recipe.
2. Add the class to ``REWARDS``. The laws in ``tests/rewards/test_laws.py`` then run for it; give
   them a value for every option without a default in ``tests/rewards/examples.py``.

``majority_vote`` is no reward of that kind: it needs all completions of one prompt, and no label.
"""

from rlent_rewards.format import Format
from rlent_rewards.math_answer import MathAnswer
from rlent_rewards.overlong import Overlong
from rlent_rewards.protocol import Reward, completion_text
from rlent_rewards.vote import Vote, VoteRule, majority_vote

REWARDS: dict[str, type] = {
    "format": Format,
    "math_answer": MathAnswer,
    "overlong": Overlong,
}

__all__ = [
    "REWARDS",
    "Format",
    "MathAnswer",
    "Overlong",
    "Reward",
    "Vote",
    "VoteRule",
    "completion_text",
    "majority_vote",
]
