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
