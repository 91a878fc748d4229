"""Reward functions for TRL's trainers, and the checking of answers behind them.

A reward is called with the completions of a batch and the columns of the dataset, and returns one
number per completion. ``REWARDS`` maps the name that a recipe writes to the class behind it.

To add a reward:

1. Write one file with one frozen dataclass. Its fields are the recipe's options, each with a
   docstring under it. ``__name__`` is the name in the table, ``__call__`` follows
   ``protocol.Reward``. Weights belong to the recipe.
2. Add the class to ``REWARDS``. The laws in ``tests/rewards/test_laws.py`` then run for it; give
   them a value for every option without a default in ``tests/rewards/examples.py``.
3. Where it says whether an answer is right, add a field to ``correctness.Correctness``.

``majority_vote`` is no reward of that kind: it needs all completions of one prompt, and no label.
"""

from rlent_rewards.budget_length import BudgetLength
from rlent_rewards.correctness import Correctness
from rlent_rewards.cosine_length import CosineLength
from rlent_rewards.exact import Exact
from rlent_rewards.format import Format
from rlent_rewards.language_consistency import LanguageConsistency
from rlent_rewards.math_answer import MathAnswer
from rlent_rewards.multiple_choice import MultipleChoice
from rlent_rewards.numeric import Numeric
from rlent_rewards.overlong import Overlong
from rlent_rewards.protocol import Reward, completion_text
from rlent_rewards.python_function import PythonFunction
from rlent_rewards.reasoning_gym import ReasoningGym
from rlent_rewards.repetition import Repetition
from rlent_rewards.target_length import TargetLength
from rlent_rewards.vote import Vote, VoteRule, answer_classes, majority_vote

REWARDS: dict[str, type] = {
    "budget_length": BudgetLength,
    "cosine_length": CosineLength,
    "exact": Exact,
    "format": Format,
    "language_consistency": LanguageConsistency,
    "math_answer": MathAnswer,
    "multiple_choice": MultipleChoice,
    "numeric": Numeric,
    "overlong": Overlong,
    "python_function": PythonFunction,
    "reasoning_gym": ReasoningGym,
    "repetition": Repetition,
    "target_length": TargetLength,
}

__all__ = [
    "REWARDS",
    "BudgetLength",
    "Correctness",
    "CosineLength",
    "Exact",
    "Format",
    "LanguageConsistency",
    "MathAnswer",
    "MultipleChoice",
    "Numeric",
    "Overlong",
    "PythonFunction",
    "ReasoningGym",
    "Repetition",
    "Reward",
    "TargetLength",
    "Vote",
    "VoteRule",
    "answer_classes",
    "completion_text",
    "majority_vote",
]
