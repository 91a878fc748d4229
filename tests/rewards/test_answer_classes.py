"""The classes of a vote are those that ``majority_vote`` counts."""

import itertools
from collections import Counter

import pytest

from rlent_rewards import VoteRule, answer_classes, majority_vote

ANSWERS = {"0.5": "half", "1/2": "half", "3": "three", "": "nothing"}
"""Text and value; the empty text stands for no usable answer."""


def boxes(answers: tuple[str, ...]) -> list[str]:
    return [rf"So \boxed{{{answer}}}" if answer else "no idea" for answer in answers]


@pytest.mark.parametrize("count", ["equivalent", "text"])
@pytest.mark.parametrize("unparsed", ["abstain", "vote"])
def test_classes_by_hand(count: str, unparsed: str) -> None:
    rule = VoteRule(count=count, unparsed=unparsed)  # pyright: ignore[reportArgumentType]
    for answers in itertools.product(ANSWERS, repeat=3):
        expected: list[str | None] = []
        for answer in answers:
            if answer == "" and unparsed == "abstain":
                expected.append(None)
                continue
            same = [
                other
                for other in answers
                if other == answer or (count == "equivalent" and ANSWERS[other] == ANSWERS[answer])
            ]
            expected.append(same[0])
        found = answer_classes(boxes(answers), rule)
        assert found == expected
        vote = majority_vote(boxes(answers), rule)
        votes = Counter(each for each in found if each is not None)
        assert vote.winner == (votes.most_common(1)[0][0] if votes else None)


def test_no_completions() -> None:
    assert answer_classes([], VoteRule()) == []


def test_a_pattern_finds_what_is_voted_for() -> None:
    texts = ["A: 1/2 or 3", "A: 0.5", "1/2", "a" * 60 + "!"]
    rule = VoteRule(pattern=r"A: (\S+)|(?:a|aa)+$")
    assert answer_classes(texts, rule) == ["1/2", "1/2", None, None]
    vote = majority_vote(texts, rule)
    assert (vote.rewards, vote.winner, vote.unparsed) == ((1.0, 1.0, 0.0, 0.0), "1/2", 2)
    with pytest.raises(ValueError, match="a vote takes extract or pattern, not both"):
        VoteRule(extract="boxed", pattern="x")


@pytest.mark.parametrize(("strict", "classes"), [(True, ["x+1", "t+1"]), (False, ["x+1", "x+1"])])
def test_names_of_variables_count_in_a_strict_vote(strict: bool, classes: list[str]) -> None:
    assert answer_classes(boxes(("x+1", "t+1")), VoteRule(strict=strict)) == classes
