"""Held-out rows share no prompt with the training rows."""

import random
from collections.abc import Callable

import pytest
from datasets import Dataset

from rlent.data import HeldOutSplit, separate, split_held_out, without_problems
from rlent.errors import ConfigError


def _plain(prompts: list[str]) -> Dataset:
    return Dataset.from_dict({"prompt": prompts, "answer": [str(i) for i in range(len(prompts))]})


def _chat(prompts: list[str]) -> Dataset:
    messages = [[{"role": "user", "content": prompt}] for prompt in prompts]
    return Dataset.from_dict({"prompt": messages, "answer": [str(i) for i in range(len(prompts))]})


def _parts(split: HeldOutSplit, prompts: list[str]) -> tuple[list[str], list[str]]:
    """The prompts of both parts, found by the row number that every answer carries."""
    return (
        [prompts[int(answer)] for answer in split.train["answer"]],
        [prompts[int(answer)] for answer in split.held_out["answer"]],
    )


@pytest.mark.parametrize("build", [_plain, _chat])
@pytest.mark.parametrize("seed", range(5))
def test_parts_are_disjoint_and_complete(build: Callable[..., Dataset], seed: int) -> None:
    prompts = random.Random(seed).choices([f"p{i}" for i in range(30)], k=80)
    split = split_held_out(build(prompts), 10, seed)
    train, held_out = _parts(split, prompts)
    assert len(held_out) == len(set(held_out)) == 10
    assert set(train) == set(prompts) - set(held_out)
    assert train == [prompt for prompt in prompts if prompt not in held_out]
    assert len(train) + len(held_out) + split.removed == 80
    assert split.removed == sum(prompts.count(prompt) - 1 for prompt in held_out)


def test_the_seed_chooses_the_rows() -> None:
    rows = _plain([f"p{i}" for i in range(40)])
    parts = [split_held_out(rows, 10, seed).held_out["answer"][:] for seed in (1, 1, 2)]
    assert parts[0] == parts[1]
    assert sorted(parts[0]) != sorted(parts[2])


def test_nothing_held_out() -> None:
    rows = _plain(["a", "b", "a"])
    split = split_held_out(rows, 0, seed=0)
    assert (split.train.to_list(), len(split.held_out), split.removed) == (rows.to_list(), 0, 0)


@pytest.mark.parametrize("count", [2, 3, -1])
def test_a_training_row_must_be_left(count: int) -> None:
    with pytest.raises(ConfigError, match="3 rows with 2 different prompts") as caught:
        split_held_out(_plain(["a", "b", "a"]), count, seed=0)
    assert caught.value.expected == "between 0 and 1"


def test_separate_takes_the_held_out_prompts_from_the_training_rows() -> None:
    train, held_out = _plain(["a", "b", "c", "b"]), _plain(["b", "b", "x", "c"])
    split = separate(train, held_out, 2)
    assert split.held_out["prompt"][:] == ["b", "x"]
    assert split.train["prompt"][:] == ["a", "c"]
    assert split.removed == 2


def test_separate_needs_enough_prompts_on_both_sides() -> None:
    with pytest.raises(ConfigError) as caught:
        separate(_plain(["a"]), _plain(["b", "b"]), 2)
    assert caught.value.expected == "at most 1"
    with pytest.raises(ConfigError, match="every training prompt is held out"):
        separate(_plain(["a", "a"]), _plain(["a", "b"]), 1)


def test_separate_knows_a_question_under_another_template() -> None:
    train, held_out = _plain(["a. Think.", "b. Think.", "c. Think."]), _plain(["b!", "x!"])
    split = separate(train, held_out, 2, (["a", "b", "c"], ["b", "x"]))
    assert split.train["prompt"][:] == ["a. Think.", "c. Think."]
    assert (len(split.held_out), split.removed) == (2, 1)


def test_problems_of_further_sets_are_left_out_by_prompt_and_by_question() -> None:
    split = split_held_out(_plain(["a!", "b!", "c!", "d!", "a!"]), 0, 0, ["a", "b", "c", "d", "a"])
    sets = [(_plain(["a?"]), ["a"]), (_plain(["x", "c!"]), ["x", "other"])]
    left = without_problems(split, sets)
    assert left.to_list() == [{"prompt": "b!", "answer": "1"}, {"prompt": "d!", "answer": "3"}]
    assert without_problems(split, []).to_list() == split.train.to_list()


@pytest.mark.parametrize("own", [True, False])
def test_questions_stay_with_the_training_rows(own: bool) -> None:
    prompts = [f"p{i}" for i in range(9)]
    questions = [f"q{i}" for i in range(9)]
    rows = _plain(prompts)
    if own:
        other = _plain(["p3", "p5"])
        split = separate(rows, other, 2, (questions, ["q3", "q5"]))
    else:
        split = split_held_out(rows, 3, 1, questions)
    assert split.questions == [f"q{answer}" for answer in split.train["answer"]]
    assert 0 < len(split.questions) < 9


def test_a_training_row_must_be_in_no_set() -> None:
    split = split_held_out(_plain(["a", "b"]), 0, 0)
    with pytest.raises(ConfigError, match="every training prompt is evaluated") as caught:
        without_problems(split, [(_plain(["b", "a"]), ["b", "a"])])
    assert caught.value.key == "evaluation.sets"
