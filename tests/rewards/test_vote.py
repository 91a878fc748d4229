"""The vote against counts written out in loops, and against what TTRL's released code gave."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

import rlent_rewards.vote
from rlent_rewards import Vote, VoteRule, majority_vote
from rlent_rewards.equivalence import Judgement

GOLDEN = sorted((Path(__file__).parents[1] / "golden/cases").glob("ttrl_vote_*.json"))
TTRL = VoteRule(count="text", unparsed="vote")
RULES = [
    VoteRule(count=count, ties=ties, unparsed=unparsed, leave_one_out=leave_one_out)
    for count in ("equivalent", "text")
    for ties in ("first", "none")
    for unparsed in ("abstain", "vote")
    for leave_one_out in (False, True)
]

# Text of the answer and its value; the empty text stands for no usable answer.
ANSWERS = {"0.5": "half", "1/2": "half", "3": "three", "": "nothing"}


def boxes(*answers: str) -> list[str]:
    return [f"So \\boxed{{{answer}}}" if answer else "no idea" for answer in answers]


def vote(*answers: str, rule: VoteRule = VoteRule()) -> Vote:  # noqa: B008
    return majority_vote(boxes(*answers), rule)


def ranking(answers: list[str], rule: VoteRule) -> list[tuple[str, int]]:
    """Text of each candidate and its votes, in order of appearance."""
    candidates: list[str] = []
    votes: list[int] = []
    for answer in answers:
        if answer == "" and rule.unparsed == "abstain":
            continue
        for position, candidate in enumerate(candidates):
            by_value = rule.count == "equivalent" and ANSWERS[answer] == ANSWERS[candidate]
            if answer == candidate or by_value:
                votes[position] += 1
                break
        else:
            candidates.append(answer)
            votes.append(1)
    return list(zip(candidates, votes, strict=True))


def best(answers: list[str], rule: VoteRule) -> tuple[str | None, int, bool]:
    """Winner, its votes, and whether it shares the first place."""
    winner, most, tied = None, 0, False
    for candidate, votes in ranking(answers, rule):
        if votes > most:
            winner, most, tied = candidate, votes, False
        elif votes == most:
            tied = True
    if tied and rule.ties == "none":
        return None, 0, True
    return winner, most, tied


def expected(answers: list[str], rule: VoteRule) -> Vote:
    rewards = []
    for position, answer in enumerate(answers):
        judges = list(answers)
        if rule.leave_one_out:
            del judges[position]
        winner = best(judges, rule)[0]
        rewards.append(1.0 if winner is not None and ANSWERS[answer] == ANSWERS[winner] else 0.0)
    winner, votes, tied = best(answers, rule)
    return Vote(
        rewards=tuple(rewards),
        winner=winner,
        share=votes / len(answers) if answers else 0.0,
        unparsed=answers.count(""),
        tied=tied,
    )


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_every_small_group_votes_as_the_rule_says(rule: VoteRule) -> None:
    for size in range(5):
        for answers in itertools.product(ANSWERS, repeat=size):
            assert vote(*answers, rule=rule) == expected(list(answers), rule), answers


def test_there_are_three_golden_cases() -> None:
    assert len(GOLDEN) == 3


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_ttrl_is_reproduced(path: Path) -> None:
    case: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    solutions, outputs = case["inputs"]["solutions"], case["outputs"]
    outcome = majority_vote(solutions, TTRL)
    assert outcome.winner == outputs["label"]
    assert outcome.share * len(solutions) == outputs["majority_count"]
    assert list(outcome.rewards) == outputs["rewards"]
    assert outcome.share == outputs["metrics"]["majority_ratio"]
    assert outcome.unparsed == outputs["extracted_answers"].count("")


def test_having_no_answer_does_not_win_by_default() -> None:
    outcome = vote("", "", "2", "")
    assert outcome == Vote(
        rewards=(0.0, 0.0, 1.0, 0.0), winner="2", share=0.25, unparsed=3, tied=False
    )


def test_two_spellings_of_a_number_vote_together_or_lose_as_texts() -> None:
    answers = ("7", "1,000", "7", "1000", "7", "1,000", "1000")
    together = vote(*answers)
    assert (together.winner, together.share) == ("1,000", 4 / 7)
    assert together.rewards == (0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0)
    apart = vote(*answers, rule=TTRL)
    assert (apart.winner, apart.share) == ("7", 3 / 7)
    assert apart.rewards == (1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0)


def test_counted_as_texts_an_equivalent_answer_is_rewarded_all_the_same() -> None:
    outcome = vote("1,000", "1000", "1000", rule=TTRL)
    assert (outcome.winner, outcome.share) == ("1000", 2 / 3)
    assert outcome.rewards == (1.0, 1.0, 1.0)


def test_expressions_are_compared_by_value() -> None:
    outcome = vote(r"\sqrt{8}", r"\frac{\pi}{2}", r"2\sqrt{2}", "(x+1)^2", "x^2+2x+1")
    assert (outcome.winner, outcome.share, outcome.tied) == (r"\sqrt{8}", 0.4, True)
    assert outcome.rewards == (1.0, 0.0, 1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("answers", "winner", "rewards"),
    [
        (("50%", "50", "1/2"), "50%", (1.0, 1.0, 1.0)),
        (("50", "1/2", "50%"), "50", (1.0, 0.0, 1.0)),
        (("1/2", "50", "50%"), "1/2", (1.0, 0.0, 1.0)),
        # The percentage is equivalent to the winner, but has joined the class that came first.
        (("50", "1/2", "1/2", "1/2", "50%"), "1/2", (0.0, 1.0, 1.0, 1.0, 0.0)),
    ],
)
def test_an_answer_joins_the_first_class_whose_first_member_it_equals(
    answers: tuple[str, ...], winner: str, rewards: tuple[float, ...]
) -> None:
    outcome = vote(*answers)
    assert (outcome.winner, outcome.rewards) == (winner, rewards)


def test_left_out_an_answer_is_judged_by_the_class_that_it_would_join() -> None:
    answers = ("50", "1/2", "1/2", "50%")
    assert vote(*answers, rule=VoteRule(leave_one_out=True)).rewards == (0.0, 0.0, 0.0, 0.0)
    answers = ("1/2", "50", "1/2", "50%")
    assert vote(*answers, rule=VoteRule(leave_one_out=True)).rewards == (0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("answers", "ties", "rewards"),
    [
        (("1",), "first", (0.0,)),
        (("1", "1"), "none", (1.0, 1.0)),
        (("1", "2"), "first", (0.0, 0.0)),
        (("1", "1", "2", "2"), "first", (0.0, 0.0, 0.0, 0.0)),
        (("1", "1", "2"), "first", (1.0, 1.0, 0.0)),
        (("2", "1", "1"), "first", (0.0, 0.0, 0.0)),
        (("1", "2", "1"), "first", (0.0, 0.0, 1.0)),
        (("1", "2", "1"), "none", (0.0, 0.0, 0.0)),
        (("1", "1", "2"), "none", (0.0, 0.0, 0.0)),
        (("2", "1", "1", "1"), "none", (0.0, 1.0, 1.0, 1.0)),
    ],
)
def test_leave_one_out_asks_the_others(
    answers: tuple[str, ...], ties: Any, rewards: tuple[float, ...]
) -> None:
    assert vote(*answers, rule=VoteRule(ties=ties, leave_one_out=True)).rewards == rewards


@pytest.mark.parametrize("answer", ["10^{10^{10}}", "1" * 201, "(((", "???"])
@pytest.mark.parametrize("count", ["equivalent", "text"])
def test_what_cannot_be_a_reference_is_no_answer(answer: str, count: Any) -> None:
    outcome = vote(answer, "7", answer, rule=VoteRule(count=count))
    assert outcome == Vote(rewards=(0.0, 1.0, 0.0), winner="7", share=1 / 3, unparsed=2, tied=False)
    outcome = vote(answer, "7", "", rule=VoteRule(count=count, unparsed="vote"))
    assert outcome == Vote(rewards=(1.0, 0.0, 1.0), winner="", share=2 / 3, unparsed=2, tied=False)


@pytest.mark.parametrize("texts", [[], ["no idea", "", "???"]])
def test_where_nobody_votes_nobody_wins(texts: list[str]) -> None:
    nobody = Vote(
        rewards=(0.0,) * len(texts), winner=None, share=0.0, unparsed=len(texts), tied=False
    )
    assert majority_vote(texts, VoteRule()) == nobody
    assert majority_vote(texts, VoteRule(leave_one_out=True)) == nobody


def test_the_answer_is_read_where_the_rule_says() -> None:
    texts = [r"\boxed{1} The answer is 2", r"\boxed{1} The answer is 3", r"\boxed{4}"]
    assert majority_vote(texts, VoteRule(extract="boxed")).winner == "1"
    assert majority_vote(texts, VoteRule(extract="marker")).unparsed == 1


@pytest.mark.parametrize(("leave_one_out", "most"), [(False, 28), (True, 56)])
def test_no_pair_of_texts_is_compared_twice(
    leave_one_out: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs: list[tuple[str | None, str]] = []

    def differ(
        compared: list[tuple[str | None, str]], limits: object, *, strict: bool
    ) -> list[Judgement]:
        assert strict
        pairs.extend(compared)
        return [Judgement("wrong")] * len(compared)

    monkeypatch.setattr(rlent_rewards.vote, "judge", differ)
    answers = [str(number % 8) for number in range(64)]
    outcome = vote(*answers, rule=VoteRule(leave_one_out=leave_one_out))
    assert outcome.share == 1 / 8
    assert 0 < len(pairs) <= most
    assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize(
    ("option", "given", "nearest"),
    [
        ("extract", "box", "boxed"),
        ("count", "texts", "text"),
        ("ties", "fist", "first"),
        ("unparsed", "abstains", "abstain"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest(
    option: str, given: str, nearest: str
) -> None:
    rule = VoteRule()
    # The type checker of the test run would stop the constructor before the check under test.
    object.__setattr__(rule, option, given)
    message = f"{option} must be one of .*; given: '{given}'; did you mean '{nearest}'"
    with pytest.raises(ValueError, match=message):
        rule.__post_init__()
