from typing import Any

import pytest
from pydantic_core import to_jsonable_python

from rlent.config.validate import parse_dataclass
from rlent.errors import ConfigError
from rlent_rewards import REWARDS, Correctness, CosineLength, MathAnswer, Numeric
from tests.rewards.examples import make


@pytest.mark.parametrize("name", REWARDS)
def test_a_reward_is_what_its_options_in_a_recipe_make(name: str) -> None:
    reward = make(name)
    written = to_jsonable_python(reward)
    assert parse_dataclass(REWARDS[name], written, f"rewards.0.{name}") == reward


def test_a_reward_within_a_reward_is_written_by_its_name() -> None:
    written = {"correctness": {"math_answer": {"extract": "boxed"}}, "max_length": 9}
    assert parse_dataclass(CosineLength, written, "rewards.0") == CosineLength(
        correctness=Correctness(math_answer=MathAnswer(extract="boxed")), max_length=9
    )


def test_a_whole_number_is_a_tolerance() -> None:
    written = {"absolute_tolerance": 1}
    assert parse_dataclass(Numeric, written, "rewards.0") == Numeric(absolute_tolerance=1.0)


@pytest.mark.parametrize(
    ("name", "options", "key"),
    [
        ("cosine_length", {"correctness": {}, "max_length": 9}, "correctness"),
        ("cosine_length", {"correctness": {"math": {}}, "max_length": 9}, "correctness.math"),
        ("numeric", {"relative_tolerance": -1}, "relative_tolerance"),
        ("exact", {"extract": "last_number"}, "extract"),
        ("multiple_choice", {"letters": "abc"}, "letters"),
        ("target_length", {"target": 5, "width": 0}, "width"),
        ("repetition", {"n": 0}, "n"),
        ("language_consistency", {"scripts": ["english"]}, "scripts"),
        ("reasoning_gym", {"timeout": 0}, "timeout"),
        ("python_function", {"function": "no_such_package:score"}, "function"),
    ],
)
def test_a_mistake_is_reported_at_its_key(name: str, options: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_dataclass(REWARDS[name], options, f"rewards.0.{name}")
    assert caught.value.key == f"rewards.0.{name}.{key}"
