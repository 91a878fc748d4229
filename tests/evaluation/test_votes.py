"""What counts as the same answer, by reward."""

import pytest

from rlent.evaluation.votes import voting
from rlent_rewards import Exact, Format, MathAnswer, MultipleChoice, Numeric


def test_equal_numbers_are_one_answer() -> None:
    vote = voting(MathAnswer(extract="boxed"))
    assert vote is not None
    texts = [r"\boxed{1/2}", r"\boxed{3}", r"\boxed{0.5}", "no answer", r"\boxed{3.0}"]
    assert vote(texts) == ["1/2", "3", "1/2", None, "3"]


def test_extraction_is_the_rewards_own() -> None:
    texts = [r"\boxed{3} or 4"]
    for reward, expected in (
        (MathAnswer(extract="last_number"), ["4"]),
        (MathAnswer(pattern=r"x(\d)"), [None]),
        (Numeric(extract="boxed"), ["3"]),
    ):
        vote = voting(reward)
        assert vote is not None
        assert vote(texts) == expected


def test_names_of_variables_are_those_of_the_reward() -> None:
    for strict, expected in ((True, ["x+1", "t+1"]), (False, ["x+1", "x+1"])):
        vote = voting(MathAnswer(strict=strict))
        assert vote is not None
        assert vote([r"\boxed{x+1}", r"\boxed{t+1}"]) == expected


def test_letters() -> None:
    vote = voting(MultipleChoice(answer_column="right", letters="ABC"))
    assert vote is not None
    assert vote(["Answer: B", "Answer: (b)", "Answer: A or C", "nothing", "Answer: C."]) == [
        "B",
        "B",
        None,
        None,
        "C",
    ]


@pytest.mark.parametrize("reward", [Exact(), Format(pattern="x"), lambda **_: []])
def test_other_rewards_compare_no_answers(reward: object) -> None:
    assert voting(reward) is None
