"""What holds for every entry of ``REWARDS``; a new entry is tested by being there."""

import ast
import dataclasses
import inspect
import math
import pickle
import textwrap
from collections.abc import Sequence
from typing import Any

import pytest

from rlent_rewards import REWARDS
from tests.rewards.examples import make

COMPLETIONS = [
    "",
    " ",
    "7",
    "(B)",
    "no",
    "<think>a</think>\n<answer>7</answer>",
    r"\boxed{\frac{14}{2}}",
    "٣ \N{MINUS SIGN}7 \x00 {{{",
]

every_reward = pytest.mark.parametrize("name", REWARDS)


def columns(texts: Sequence[str]) -> dict[str, Any]:
    """What TRL passes beside the completions, as if every character were a token."""
    return {
        "prompts": ["What is 3 + 4?"] * len(texts),
        "completion_ids": [[ord(character) for character in text] for text in texts],
        "answer": ["7"] * len(texts),
        "choice": ["B"] * len(texts),
        "budget": [5] * len(texts),
        "metadata": ['{"source_dataset": "chain_sum"}'] * len(texts),
        "trainer_state": None,
    }


@every_reward
def test_it_is_a_frozen_keyword_only_dataclass_with_slots(name: str) -> None:
    reward = REWARDS[name]
    assert dataclasses.is_dataclass(reward)
    assert reward.__dataclass_params__.frozen  # pyright: ignore[reportAttributeAccessIssue]
    assert all(field.kw_only for field in dataclasses.fields(reward))
    assert not hasattr(make(name), "__dict__")
    assert make(name) == make(name)


@every_reward
def test_class_and_options_are_documented(name: str) -> None:
    reward = REWARDS[name]
    generated = f"{reward.__name__}("
    assert reward.__doc__
    assert not reward.__doc__.startswith(generated)
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(reward))).body
    assert isinstance(tree, ast.ClassDef)
    documented = {
        option.target.id
        for option, text in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(option, ast.AnnAssign)
        and isinstance(option.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
    assert documented == {field.name for field in dataclasses.fields(reward)}


@every_reward
def test_its_name_is_the_name_in_the_table(name: str) -> None:
    assert make(name).__name__ == name


@every_reward
def test_an_empty_batch_gives_no_reward_and_logs_nothing(name: str) -> None:
    logged: dict[str, float] = {}
    assert make(name)(completions=[], **columns([]), log_metric=logged.__setitem__) == []
    assert logged == {}


@every_reward
def test_one_finite_reward_per_completion_whatever_its_form(name: str) -> None:
    reward = make(name)
    given = columns(COMPLETIONS)
    texts = reward(completions=COMPLETIONS, **given)
    conversations = reward(
        completions=[[{"role": "assistant", "content": text}] for text in COMPLETIONS], **given
    )
    assert texts == conversations
    assert [type(value) for value in texts] == [float] * len(COMPLETIONS)
    assert all(map(math.isfinite, texts))
    assert len(set(texts)) > 1


@every_reward
def test_a_completion_is_scored_alone_and_the_same_every_time(name: str) -> None:
    reward = make(name)
    batch = reward(completions=COMPLETIONS, **columns(COMPLETIONS))
    assert batch == reward(completions=COMPLETIONS, **columns(COMPLETIONS))
    assert batch == [reward(completions=[text], **columns([text]))[0] for text in COMPLETIONS]


@every_reward
def test_it_can_be_sent_to_another_process(name: str) -> None:
    reward = make(name)
    assert pickle.loads(pickle.dumps(reward)) == reward
