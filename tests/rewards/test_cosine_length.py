import math
from typing import Any

import pytest

from rlent_rewards import (
    Correctness,
    CosineLength,
    Exact,
    MathAnswer,
    MultipleChoice,
    Numeric,
    PythonFunction,
    ReasoningGym,
)

RIGHT, WRONG = r"\boxed{7}", r"\boxed{8}"
NUMERIC = Correctness(numeric=Numeric())


def rewards(reward: CosineLength, text: str, lengths: list[int]) -> list[float]:
    ids = [list(range(length)) for length in lengths]
    rows = len(lengths)
    return reward([text] * rows, completion_ids=ids, answer=["7"] * rows)


@pytest.mark.parametrize("text", [RIGHT, WRONG])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"correct_short": 1.0, "correct_long": 0.5, "wrong_short": -1.0, "wrong_long": -0.5},
        {"correct_short": 0.0, "correct_long": 10.0, "exceeded": -3.0},
    ],
)
def test_it_is_the_cosine_from_one_end_to_the_other(text: str, options: dict[str, float]) -> None:
    ends = {"correct_short": 2.0, "correct_long": 1.0, "wrong_short": -10.0, "wrong_long": 0.0}
    ends |= {"exceeded": -10.0} | options
    kind = "correct" if text == RIGHT else "wrong"
    expected = []
    for length in range(15):
        if length >= 12:
            expected.append(ends["exceeded"])
            continue
        short, long = ends[f"{kind}_short"], ends[f"{kind}_long"]
        # The half-angle form: the weight of the long end is sin^2 of half the angle.
        weight = math.sin(math.pi * length / 24) ** 2
        expected.append(short * (1 - weight) + long * weight)
    reward = CosineLength(correctness=NUMERIC, max_length=12, **options)
    assert rewards(reward, text, list(range(15))) == pytest.approx(expected, abs=1e-12)


def test_the_defaults_of_the_paper_at_the_ends_and_the_middle() -> None:
    reward = CosineLength(correctness=NUMERIC, max_length=14336)
    lengths = [0, 7168, 14335, 14336, 20000]
    assert rewards(reward, RIGHT, lengths) == pytest.approx([2, 1.5, 1, -10, -10], abs=1e-6)
    assert rewards(reward, WRONG, lengths) == pytest.approx([-10, -5, 0, -10, -10], abs=1e-6)


def test_short_right_answers_and_long_wrong_ones_are_better() -> None:
    reward = CosineLength(correctness=NUMERIC, max_length=100)
    right, wrong = (rewards(reward, text, list(range(100))) for text in (RIGHT, WRONG))
    assert right == sorted(right, reverse=True)
    assert wrong == sorted(wrong)


GIVEN: dict[str, tuple[Any, str]] = {
    "math_answer": (MathAnswer(), r"\boxed{\frac{14}{2}}"),
    "numeric": (Numeric(), "7.0"),
    "exact": (Exact(), "7"),
    "multiple_choice": (MultipleChoice(answer_column="choice"), "B"),
    "reasoning_gym": (ReasoningGym(), "<answer>7</answer>"),
    "python_function": (
        PythonFunction(function="tests.rewards.functions:python_function"),
        "ten signs or more are right there",
    ),
}


@pytest.mark.parametrize("name", GIVEN)
def test_any_reward_of_an_answer_may_say_what_is_right(name: str) -> None:
    judge, right = GIVEN[name]
    reward = CosineLength(correctness=Correctness(**{name: judge}), max_length=9)
    columns = {
        "completion_ids": [[]] * 2,
        "answer": ["7"] * 2,
        "choice": ["B"] * 2,
        "metadata": ['{"source_dataset": "chain_sum"}'] * 2,
    }
    assert reward([right, "no"], **columns) == [2.0, -10.0]


def test_every_field_of_correctness_is_tested() -> None:
    assert set(GIVEN) == set(Correctness.__dataclass_fields__)


def test_a_completion_without_a_score_has_none_here() -> None:
    judge = PythonFunction(function="tests.rewards.functions.with_columns")
    reward = CosineLength(correctness=Correctness(python_function=judge), max_length=5)
    given: dict[str, float] = {}
    scores = reward(
        ["a", "b", "c", "d"],
        completion_ids=[[], [], [1] * 5, [1] * 5],
        level=[-1, 1, -1, 1],
        log_metric=given.__setitem__,
    )
    assert math.isnan(scores[0])
    assert math.isnan(scores[2])
    assert (scores[1], scores[3]) == (2.0, -10.0)


def test_the_reward_of_the_answer_logs_as_elsewhere() -> None:
    logged: dict[str, float] = {}
    reward = CosineLength(correctness=NUMERIC, max_length=5)
    reward([RIGHT, "no"], completion_ids=[[], []], answer=["7", "7"], log_metric=logged.__setitem__)
    assert logged == {"rewards/numeric/unparsed": 0.5}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"correctness must name one reward .* given: none"),
        ({"numeric": Numeric(), "exact": Exact()}, "given: numeric, exact"),
    ],
)
def test_correctness_is_one_reward(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Correctness(**given)


@pytest.mark.parametrize("given", [0, -4])
def test_the_length_must_be_positive(given: int) -> None:
    with pytest.raises(ValueError, match=f"cosine_length: max_length must be positive; .*{given}"):
        CosineLength(correctness=NUMERIC, max_length=given)


@pytest.mark.parametrize(
    "option", ["correct_short", "correct_long", "wrong_short", "wrong_long", "exceeded"]
)
@pytest.mark.parametrize("given", [math.nan, math.inf])
def test_rewards_must_be_finite(option: str, given: float) -> None:
    with pytest.raises(ValueError, match=f"cosine_length: {option} must be finite"):
        CosineLength(correctness=NUMERIC, max_length=5, **{option: given})


def test_what_it_needs_must_be_there() -> None:
    reward = CosineLength(correctness=NUMERIC, max_length=5)
    with pytest.raises(ValueError, match="cosine_length: completion_ids must be passed"):
        reward(["7"], answer=["7"])
    with pytest.raises(ValueError, match="no column 'answer'"):
        reward(["7"], completion_ids=[[7]])
