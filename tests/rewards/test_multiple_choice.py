from typing import Any

import pytest

from rlent_rewards import MultipleChoice


def chosen(reward: MultipleChoice, completion: str) -> str:
    """The letters that score, which is at most one."""
    return "".join(
        letter for letter in reward.letters if reward([completion], answer=[letter]) == [1.0]
    )


@pytest.mark.parametrize(
    "text",
    [
        "B",
        "(B)",
        "B.",
        "B)",
        " B\n",
        "**B**",
        "$B$",
        "b",
        "(b)",
        r"\boxed{B}",
        r"\boxed{b}",
        r"\boxed{\text{B}}",
        r"\boxed{\text{b}}",
        r"$\boxed{\mathbf{(B)}}$",
        r"\text{B}",
        "Answer: B",
        "Answer: (B)",
        "**Answer:** B",
        "The answer is B.",
        "The correct answer is option B, a house.",
        "B. Paris",
        "(B) Paris",
        "<answer>B</answer>",
        "<answer>\nB: Paris\n</answer>",
        "B, so B",
        "答案是B。",
        "not a small letter but B",
        "C or D? No. Answer: B",
        r"A, C and D are wrong: \boxed{B}",
        "ABCD, so B",
    ],
)
def test_one_letter_that_stands_alone_is_the_choice(text: str) -> None:
    assert chosen(MultipleChoice(), text) == "B"


@pytest.mark.parametrize(
    "text",
    ["A or B", "A, B", "AB", "B B C", "Answer: A or B", r"\boxed{A, B}", "(A)(B)(C)(D)"],
)
def test_several_letters_choose_nothing(text: str) -> None:
    assert chosen(MultipleChoice(), text) == ""


@pytest.mark.parametrize(
    "text", ["", " ", "E", "e", "Because", "B_1", "2B", "ab", "no", "Paris", "b or c", "\ud800"]
)
def test_no_letter_chooses_nothing(text: str) -> None:
    assert chosen(MultipleChoice(), text) == ""


def test_an_article_is_a_choice_like_any_other() -> None:
    assert chosen(MultipleChoice(), "Answer: A house") == "A"
    assert chosen(MultipleChoice(), "Answer: A house, that is B") == ""


def test_the_letters_are_those_of_the_option() -> None:
    assert chosen(MultipleChoice(letters="ABCDEFGHIJ"), "J") == "J"
    assert chosen(MultipleChoice(letters="YN"), "(n)") == "N"
    assert chosen(MultipleChoice(letters="YN"), "A but Y") == "Y"


def test_the_answer_stands_where_extract_says() -> None:
    text = r"\boxed{A} <answer>B</answer> answer: C. Done"
    found = {
        method: chosen(MultipleChoice(extract=method), text)
        for method in ("auto", "boxed", "answer_tag", "marker", "whole")
    }
    assert found == {"auto": "A", "boxed": "A", "answer_tag": "B", "marker": "C", "whole": ""}


def test_ambiguous_and_missing_choices_are_counted_apart() -> None:
    logged: dict[str, float] = {}
    texts = ["B", "A or B", "A B C D", "none of them", "C"]
    reward = MultipleChoice(answer_column="key")
    assert reward(texts, key=["B"] * 5, log_metric=logged.__setitem__) == [1, 0, 0, 0, 0]
    assert logged == {
        "rewards/multiple_choice/ambiguous": 0.4,
        "rewards/multiple_choice/unparsed": 0.2,
    }


@pytest.mark.parametrize("reference", ["B", "b", "(B)", "B.", " B\n", "**B**"])
def test_a_reference_is_one_letter_in_any_dress(reference: str) -> None:
    assert MultipleChoice()(["B", "C"], answer=[reference] * 2) == [1.0, 0.0]


@pytest.mark.parametrize("reference", ["", "E", "AB", "A or B", "B. Paris", 1, None, ["B"]])
def test_any_other_reference_is_refused(reference: Any) -> None:
    message = "multiple_choice: row 1 of column 'answer' must hold one of the letters A, B, C, D"
    with pytest.raises(ValueError, match=message):
        MultipleChoice()(["B", "B"], answer=["B", reference])


@pytest.mark.parametrize("letters", ["", "A", "AA", "abc", "A-Z", "A B", "ÄÖ", "A^"])
def test_letters_must_be_different_capitals(letters: str) -> None:
    with pytest.raises(ValueError, match="multiple_choice: letters must be two or more different"):
        MultipleChoice(letters=letters)


def test_an_unknown_extraction_is_refused() -> None:
    reward = MultipleChoice()
    # The type checker of the test run would stop the constructor before the check under test.
    object.__setattr__(reward, "extract", "last_number")
    with pytest.raises(ValueError, match="multiple_choice: extract must be one of auto"):
        reward.__post_init__()
