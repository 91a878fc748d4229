"""empo: shares of clusters, semantic entropy, and the thresholds."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.interventions import EMPO
from rlent.interventions.empo import semantic_entropy
from rlent.types import Rollouts
from tests.interventions.examples import make_rollouts, make_tokens
from tests.laws.pipeline import number

ANSWERS = ["3", "7", "3", "none", "1/2", "0.5", "9", "none"]
GROUPS = [4, 1, 4, 1, 1, 1, 4, 4]


def rollouts_of(answers: list[str], groups: list[int]) -> Rollouts:
    texts = tuple("no idea" if a == "none" else f"so \\boxed{{{a}}}" for a in answers)
    made = make_rollouts(make_tokens(rows=len(answers)))
    return replace(made, texts=texts, group=torch.tensor(groups))


def entropy_of(*sizes: int) -> float:
    total = sum(sizes)
    return -sum(size / total * math.log(size / total) for size in sizes)


def test_the_reward_is_the_share_of_equivalent_answers() -> None:
    reward, metrics = EMPO().on_rewards(rollouts_of(ANSWERS, GROUPS))
    # Group 4: {3, 3}, {9}, none. Group 1: {7}, {1/2, 0.5}, none.
    assert reward.tolist() == [0.5, 0.25, 0.5, 0.0, 0.5, 0.5, 0.25, 0.0]
    assert number(metrics["reward"]) == pytest.approx(2.5 / 8)
    assert number(metrics["semantic_entropy"]) == pytest.approx(entropy_of(2, 1, 1))
    assert number(metrics["rewarded"]) == 1.0
    assert number(metrics["unparsed"]) == 2 / 8


def test_a_completion_without_an_answer_may_have_the_share_of_its_own_cluster() -> None:
    reward, metrics = EMPO(unparsed="share").on_rewards(rollouts_of(ANSWERS, GROUPS))
    assert reward.tolist() == [0.5, 0.25, 0.5, 0.25, 0.5, 0.5, 0.25, 0.25]
    assert number(metrics["unparsed"]) == 2 / 8
    silent = rollouts_of(["none"] * 3 + ["4"], [0] * 4)
    assert EMPO(unparsed="share").on_rewards(silent)[0].tolist() == [0.0] * 4  # all differ
    assert EMPO(unparsed="share", high=9.0).on_rewards(silent)[0].tolist() == [0.25] * 4


def test_texts_may_be_counted() -> None:
    reward, _ = EMPO(count="text").on_rewards(rollouts_of(ANSWERS, GROUPS))
    # Group 1 has no two equal texts: all differ, so nothing is rewarded.
    assert reward.tolist() == [0.5, 0.0, 0.5, 0.0, 0.0, 0.0, 0.25, 0.0]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16])
def test_a_prompt_whose_completions_all_differ_is_not_rewarded(size: int) -> None:
    rollouts = rollouts_of([str(i) for i in range(size)], [0] * size)
    reward, metrics = EMPO().on_rewards(rollouts)
    assert reward.tolist() == [0.0] * size
    assert number(metrics["rewarded"]) == 0.0


def test_thresholds() -> None:
    rollouts = rollouts_of(["1", "1", "1", "2", "5", "5", "5", "5"], [0] * 4 + [1] * 4)
    mixed = entropy_of(3, 1)
    reward, _ = EMPO(low=0.1).on_rewards(rollouts)
    assert reward.tolist() == [0.75, 0.75, 0.75, 0.25, 0, 0, 0, 0]
    reward, _ = EMPO(high=mixed).on_rewards(rollouts)
    assert reward.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    reward, _ = EMPO(low=mixed, high=mixed + 0.01).on_rewards(rollouts)
    assert reward.tolist() == [0.75, 0.75, 0.75, 0.25, 0, 0, 0, 0]


def test_the_answer_is_extracted_as_asked() -> None:
    rollouts = replace(
        rollouts_of(["1", "1"], [0, 0]), texts=("<answer>1</answer> 5", "<answer>1</answer> 6")
    )
    assert EMPO(extract="answer_tag").on_rewards(rollouts)[0].tolist() == [1.0, 1.0]
    assert EMPO(extract="last_number").on_rewards(rollouts)[0].tolist() == [0.0, 0.0]


def test_semantic_entropy() -> None:
    assert semantic_entropy(["a", "a", "a"]) == 0.0
    assert semantic_entropy(["a", "b", None, None]) == pytest.approx(math.log(4))


def test_without_the_reward_rewards_stay() -> None:
    rollouts = rollouts_of(ANSWERS, GROUPS)
    assert torch.equal(EMPO(replace=False).on_rewards(rollouts)[0], rollouts.reward)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"low": -0.1}, "low"),
        ({"low": math.nan}, "low"),
        ({"low": 1.0, "high": 1.0}, "high must be above low"),
        ({"high": math.inf}, "high"),
    ],
)
def test_empo_refuses(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        EMPO(**settings)


def test_needs() -> None:
    assert EMPO().needs == {"texts", "whole_groups"}
    assert EMPO.overwrites == {"reward"}
