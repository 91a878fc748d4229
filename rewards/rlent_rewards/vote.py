"""The majority answer among a prompt's completions, as a reward without labels.

Zuo et al., "TTRL: Test-Time Reinforcement Learning", arXiv 2504.16084: with ``a_i`` the answer of
completion ``i`` and ``y`` the most frequent answer, ``r_i = 1[a_i = y]``.

What "the same answer" means is open in the formula. The released code counts texts and then grades
every answer against the winning text by equivalence, so "1,000" may cost "1000" the majority and is
rewarded all the same; it gives ties to the answer seen first; an unparsable answer is the text ""
and can win. ``VoteRule(count="text", unparsed="vote")`` is that rule, with this package's
extraction and grading. The defaults count equivalent answers together, and nobody can win by having
no answer.

Wu et al., "SPINE", arXiv 2511.17938v1, adds a vote without the completion that is judged; neither
its rule for ties nor any code of it could be read, so what happens there is this file's choice.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Literal, get_args

from rlent_rewards.choices import check_choice
from rlent_rewards.equivalence import grade, reference_problem
from rlent_rewards.extraction import Extraction, extract_answer

_Same = Callable[[str, str], bool]

_UNUSABLE = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class VoteRule:
    """How the completions of one prompt vote.

    An answer is usable if something can be compared with it: ``reference_problem`` finds nothing.
    So one that is missing, is not mathematics or is refused by ``guards`` is not.

    Raises:
        ValueError: an option is unknown.
    """

    extract: Extraction = "auto"
    """Where the answer stands, as in ``MathAnswer``."""

    count: Literal["equivalent", "text"] = "equivalent"
    """What counts as the same answer. ``text``: the same characters.

    ``equivalent``: a new text joins the first class, in order of appearance, whose first member it
    is graded correct against, and opens a class of its own where there is none. Equivalence is not
    transitive (50% is 50 and 1/2), so this order is part of the rule."""

    ties: Literal["first", "none"] = "first"
    """Who wins if several answers have the most votes: the first seen of them, or nobody."""

    unparsed: Literal["abstain", "vote"] = "abstain"
    """Whether completions without a usable answer do not vote, or vote as one class ""."""

    leave_one_out: bool = False
    """Judge each completion by the vote of the others; with no others it gets 0.

    Ties are those of that vote. Where two answers tie over all completions, each of their
    completions sees the other answer ahead and gets 0. Where an answer leads by one vote, its own
    completions see a tie: under ``none`` all get 0; under ``first`` the order of the others
    decides, and the same answer may get 1 in one completion and 0 in another."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if choices := get_args(field.type):
                check_choice(field.name, getattr(self, field.name), choices)


@dataclass(frozen=True, kw_only=True, slots=True)
class Vote:
    """The outcome of one prompt's vote."""

    rewards: tuple[float, ...]
    """Per completion 1.0 where its answer is in the winning class or, if texts were counted, is
    equivalent to the winner; else 0.0."""

    winner: str | None
    """The first text of the class that wins among all completions, or None."""

    share: float
    """Votes of the winner over all completions, those that abstain included; 0 without a winner."""

    unparsed: int
    """Completions without a usable answer."""

    tied: bool
    """Whether several answers have the most votes among all completions."""


def majority_vote(texts: Sequence[str], rule: VoteRule) -> Vote:
    """Let the completions of one prompt vote on its answer, and reward those that agree.

    ``winner``, ``share`` and ``tied`` are of the vote of all completions also where each is judged
    by the others.
    """
    answers = _usable_answers(texts, rule.extract)
    same = cache(_same)
    classes = _count(answers, rule, same)
    winner, tied = _winner(classes, rule)
    if rule.leave_one_out:
        voters = [answers[:i] + answers[i + 1 :] for i in range(len(answers))]
        judges = [_count(others, rule, same) for others in voters]
    else:
        judges = [classes] * len(answers)
    return Vote(
        rewards=tuple(
            _judge(answer, judge, rule, same) for answer, judge in zip(answers, judges, strict=True)
        ),
        winner=winner,
        share=classes[winner] / len(answers) if winner is not None else 0.0,
        unparsed=answers.count(_UNUSABLE),
        tied=tied,
    )


def _usable_answers(texts: Sequence[str], extract: Extraction) -> list[str]:
    answers = [extract_answer(text, extract) or _UNUSABLE for text in texts]
    usable = {answer for answer in set(answers) if reference_problem(answer) is None}
    return [answer if answer in usable else _UNUSABLE for answer in answers]


def _judge(answer: str, classes: Counter[str], rule: VoteRule, same: _Same) -> float:
    winner, _ = _winner(classes, rule)
    if winner is None:
        return 0.0
    if rule.count == "text":
        return float(same(answer, winner))
    return float(_class_of(answer, classes, same) == winner)


def _count(answers: Sequence[str], rule: VoteRule, same: _Same) -> Counter[str]:
    """Votes by the first member of each class, in order of appearance."""
    texts = Counter(a for a in answers if a != _UNUSABLE or rule.unparsed == "vote")
    if rule.count == "text":
        return texts
    classes = Counter[str]()
    for text, votes in texts.items():
        classes[_class_of(text, classes, same)] += votes
    return classes


def _class_of(answer: str, classes: Counter[str], same: _Same) -> str:
    """The first member of the class that an answer joins, or the answer if it joins none."""
    return next((first for first in classes if same(answer, first)), answer)


def _winner(classes: Counter[str], rule: VoteRule) -> tuple[str | None, bool]:
    """The class that wins, and whether several have the most votes."""
    most = max(classes.values(), default=0)
    largest = [first for first, votes in classes.items() if votes == most]
    tied = len(largest) > 1
    if not largest or (tied and rule.ties == "none"):
        return None, tied
    return largest[0], tied


def _same(answer: str, first: str) -> bool:
    # An unusable answer is no reference that ``grade`` could compare with.
    return answer == first or (first != _UNUSABLE and grade(answer, first) == "correct")
