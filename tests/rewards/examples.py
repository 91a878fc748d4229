"""Rewards to test with."""

from typing import Any

from rlent_rewards import REWARDS, Correctness, MathAnswer

REQUIRED: dict[str, dict[str, Any]] = {
    "cosine_length": {"correctness": Correctness(math_answer=MathAnswer()), "max_length": 20},
    "language_consistency": {"scripts": ("latin",)},
    "multiple_choice": {"answer_column": "choice"},
    "overlong": {"max_length": 20, "cache": 10},
    "python_function": {"function": "tests.rewards.functions:python_function"},
    "target_length": {"target": 5, "width": 10},
}
"""Values for the options without a default, and for a column that the laws must tell apart."""


def make(name: str) -> Any:
    return REWARDS[name](**REQUIRED.get(name, {}))
