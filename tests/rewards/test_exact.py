from typing import Any

import pytest

from rlent_rewards import Exact


def score(reward: Exact, completion: str, reference: Any) -> float:
    return reward([completion], answer=[reference])[0]


@pytest.mark.parametrize(
    ("completion", "reference", "reward"),
    [
        ("Paris", "Paris", 1.0),
        (" Paris\n", "Paris", 1.0),
        ("Paris", "\tParis ", 1.0),
        ("paris", "Paris", 0.0),
        ("Paris.", "Paris", 0.0),
        ("New  York", "New York", 0.0),
        ("caf\u00e9", "cafe\u0301", 0.0),
        (r"\boxed{Paris} or <answer>Rome</answer>", "Paris", 1.0),
        ("<answer>\nParis\n</answer>", "Paris", 1.0),
        ("The answer is Paris. It is nice.", "Paris", 1.0),
        ("2**10", "2**10", 1.0),
        ("7", 7, 1.0),
        ("", "Paris", 0.0),
        ("\ud800", "\ud800", 1.0),
    ],
)
def test_by_default_all_but_outer_white_space_counts(
    completion: str, reference: Any, reward: float
) -> None:
    assert score(Exact(), completion, reference) == reward


# One option at a time: pairs that it makes equal, which without it are different.
IGNORED = {
    "ignore_case": [("paris", "Paris"), ("STRASSE", "straße"), ("ΣΊΣΥΦΟΣ", "σίσυφος")],
    "collapse_whitespace": [("New \t York", "New York"), ("a\n\nb", "a b")],
    "ignore_punctuation": [("Paris.", "Paris"), ("**Paris**", "(Paris)"), ("don\u2019t", "dont")],
}


@pytest.mark.parametrize("option", IGNORED)
def test_each_option_ignores_one_thing_on_both_sides(option: str) -> None:
    for other, pairs in IGNORED.items():
        for left, right in pairs:
            for pair in ((left, right), (right, left)):
                assert score(Exact(**{option: True}), *pair) == float(option == other)


def test_symbols_are_no_punctuation() -> None:
    reward = Exact(ignore_punctuation=True)
    assert score(reward, "$5", "5") == 0.0
    assert score(reward, "C++", "C") == 0.0
    assert score(reward, "C#", "C") == 1.0


def test_without_strip_outer_white_space_counts() -> None:
    reward = Exact(strip=False, extract="whole")
    assert score(reward, " Paris", "Paris") == 0.0
    assert score(reward, " Paris", " Paris") == 1.0
    collapsed = Exact(strip=False, collapse_whitespace=True, extract="whole")
    assert score(collapsed, " \n Paris", " Paris") == 1.0
    assert score(collapsed, " \n Paris", "Paris") == 0.0


def test_the_options_apply_in_the_order_in_which_they_stand() -> None:
    # What is left between the blanks after the punctuation is gone is one run of white space.
    both = Exact(ignore_punctuation=True, collapse_whitespace=True)
    assert score(both, "New - York !", "New York") == 1.0
    assert score(Exact(ignore_punctuation=True), "New - York", "New York") == 0.0


def test_the_answer_stands_where_extract_says() -> None:
    text = r"\boxed{a} <answer>b</answer> answer: c. Done"
    answers = {"boxed": "a", "answer_tag": "b", "marker": "c", "whole": text, "auto": "a"}
    for method, answer in answers.items():
        reward = Exact(extract=method)  # pyright: ignore[reportArgumentType]
        assert [score(reward, text, other) for other in ("a", "b", "c", text)] == [
            float(other == answer) for other in ("a", "b", "c", text)
        ]


def test_missing_answers_are_counted() -> None:
    logged: dict[str, float] = {}
    reward = Exact(extract="answer_tag", answer_column="city")
    texts = ["<answer>Paris</answer>", "Paris", "<answer> </answer>", "<answer>Rome</answer>"]
    assert reward(texts, city=["Paris"] * 4, log_metric=logged.__setitem__) == [1, 0, 0, 0]
    assert logged == {"rewards/exact/unparsed": 0.5}


@pytest.mark.parametrize(
    ("options", "reference"),
    [
        ({}, ""),
        ({}, " "),
        ({"strip": False}, " "),
        ({"ignore_punctuation": True}, "?!"),
        ({}, None),
        ({}, 7.0),
        ({}, ["Paris"]),
    ],
)
def test_something_must_be_left_of_a_reference(options: dict[str, bool], reference: Any) -> None:
    with pytest.raises(ValueError, match="exact: row 1 of column 'answer' must hold a text"):
        Exact(**options)(["Paris", "Paris"], answer=["Paris", reference])


def test_an_unknown_extraction_is_refused() -> None:
    reward = Exact()
    # The type checker of the test run would stop the constructor before the check under test.
    object.__setattr__(reward, "extract", "last_number")
    with pytest.raises(
        ValueError, match="exact: extract must be one of auto, boxed, answer_tag, marker, whole"
    ):
        reward.__post_init__()


def test_a_column_must_be_there() -> None:
    with pytest.raises(ValueError, match="no column 'answer' in the dataset"):
        Exact()(["7"], answers=["7"])
