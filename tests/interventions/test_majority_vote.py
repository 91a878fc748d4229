"""majority_vote: rewards of whole groups, the completions that are trained on, and what is counted."""

from dataclasses import replace

import pytest
import torch

from rlent.interventions import MajorityVote
from rlent.types import Rollouts
from tests.interventions.examples import make_rollouts, make_tokens

ANSWERS = ["3", "7", "3", "none", "1/2", "0.5", "9", "9"]
GROUPS = [4, 1, 4, 1, 1, 1, 4, 4]


def rollouts_of(answers: list[str], groups: list[int]) -> Rollouts:
    texts = tuple(
        "no idea" if answer == "none" else f"so \\boxed{{{answer}}}" for answer in answers
    )
    made = make_rollouts(make_tokens(rows=len(answers)))
    return replace(made, texts=texts, group=torch.tensor(groups, dtype=torch.int64))


def mean(metrics: object, name: str) -> float:
    metric = metrics[name]  # type: ignore[index]
    return float(metric.total) / float(metric.count)


def test_the_majority_of_each_group_is_rewarded() -> None:
    rollouts = rollouts_of(ANSWERS, GROUPS)
    reward, metrics = MajorityVote().on_rewards(rollouts)
    # Group 4 ties 3 with 9, seen first is 3; group 1 agrees on a half, written in two ways.
    assert reward.tolist() == [1, 0, 1, 0, 1, 1, 0, 0]
    assert reward.dtype == rollouts.reward.dtype
    assert mean(metrics, "reward") == 0.5
    assert mean(metrics, "majority_share") == 0.5
    assert mean(metrics, "unparsed") == 1 / 8
    assert mean(metrics, "tied") == 0.5
    assert mean(metrics, "no_winner") == 0.0


def test_options_reach_the_vote() -> None:
    rollouts = rollouts_of(ANSWERS, GROUPS)
    assert MajorityVote(ties="none").on_rewards(rollouts)[0].tolist() == [0, 0, 0, 0, 1, 1, 0, 0]
    by_text, metrics = MajorityVote(count="text", ties="none").on_rewards(rollouts)
    assert by_text.tolist() == [0] * 8
    assert mean(metrics, "no_winner") == 1.0
    silent = rollouts_of(["none", "none", "5", "none"], [0, 0, 0, 0])
    assert MajorityVote().on_rewards(silent)[0].tolist() == [0, 0, 1, 0]
    assert MajorityVote(unparsed="vote").on_rewards(silent)[0].tolist() == [1, 1, 0, 1]
    pair = rollouts_of(["5", "6", "5"], [0, 0, 0])
    assert MajorityVote(leave_one_out=True).on_rewards(pair)[0].tolist() == [0, 0, 1]
    assert MajorityVote(extract="answer_tag").on_rewards(pair)[0].tolist() == [0, 0, 0]


def test_without_the_vote_rewards_stay() -> None:
    rollouts = rollouts_of(ANSWERS, GROUPS)
    reward, _ = MajorityVote(vote=False).on_rewards(rollouts)
    assert torch.equal(reward, rollouts.reward)


def test_the_first_completions_of_each_group_are_trained_on() -> None:
    rollouts = rollouts_of(ANSWERS, GROUPS)
    before = torch.tensor([True] * 4 + [False] + [True] * 3)
    keep, _ = MajorityVote(train_on=3).on_filter(rollouts, before)
    assert keep.tolist() == [True, True, True, True, False, False, True, False]
    keep, _ = MajorityVote().on_filter(rollouts, before)
    assert torch.equal(keep, before)


def test_settings() -> None:
    assert MajorityVote().needs == {"texts", "whole_groups"}
    assert MajorityVote(train_on=32).smallest_group == 32
    assert MajorityVote().smallest_group == 1
    with pytest.raises(ValueError, match="train_on"):
        MajorityVote(train_on=1)
