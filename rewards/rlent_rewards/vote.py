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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import takewhile
from typing import Literal, get_args, get_origin

from rlent_rewards.choices import check_choice
from rlent_rewards.equivalence import judge, usable_references
from rlent_rewards.extraction import Extraction, check_custom, extract_answer
from rlent_rewards.workers import Limits

_UNUSABLE = ""
_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True, slots=True)
class VoteRule:
    """How the completions of one prompt vote.

    An answer is usable if something can be compared with it. One that is missing, is not
    mathematics, is refused by ``guards`` or takes more than the ``Limits`` of a worker is not.

    Raises:
        ValueError: an option is unknown, or the pattern does not compile or stands beside ``extract``.
    """

    extract: Extraction = "auto"
    """Where the answer stands, as in ``MathAnswer``."""

    pattern: str | None = None
    """A regular expression in the place of ``extract``, as in ``MathAnswer``."""

    strict: bool = True
    """Whether the names of variables count, as in ``MathAnswer``."""

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
            if get_origin(field.type) is Literal:
                check_choice(field.name, getattr(self, field.name), get_args(field.type))
        check_custom("a vote", self.extract, self.pattern)


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
    answers, same = _usable_answers(texts, rule), _Same(rule.strict)
    classes = _count(answers, rule, same)
    winner, tied = _winner(classes, rule)
    if rule.leave_one_out:
        voters = [answers[:i] + answers[i + 1 :] for i in range(len(answers))]
        judges = [_count(others, rule, same) for others in voters]
    else:
        judges = [classes] * len(answers)
    return Vote(
        rewards=tuple(
            _judge(answer, voted, rule, same) for answer, voted in zip(answers, judges, strict=True)
        ),
        winner=winner,
        share=classes[winner] / len(answers) if winner is not None else 0.0,
        unparsed=answers.count(_UNUSABLE),
        tied=tied,
    )


def answer_classes(texts: Sequence[str], rule: VoteRule) -> list[str | None]:
    """For each completion of one prompt the first text of the class that it votes for, or None.

    Of ``rule``, ``extract``, ``count`` and ``unparsed`` are read: there is no winner here.
    """
    answers, same = _usable_answers(texts, rule), _Same(rule.strict)
    classes = _count(answers, rule, same)
    firsts = [answer if rule.count == "text" else same.first(answer, classes) for answer in answers]
    return [first if first in classes else None for first in firsts]


def _usable_answers(texts: Sequence[str], rule: VoteRule) -> list[str]:
    answers = [_answer(text, rule) for text in texts]
    usable = usable_references(answers, _LIMITS)
    return [answer if answer in usable else _UNUSABLE for answer in answers]


def _answer(text: str, rule: VoteRule) -> str:
    try:
        return extract_answer(text, rule.extract, rule.pattern) or _UNUSABLE
    except TimeoutError:
        return _UNUSABLE


def _judge(answer: str, classes: Counter[str], rule: VoteRule, same: "_Same") -> float:
    winner, _ = _winner(classes, rule)
    if winner is None:
        return 0.0
    if rule.count == "text":
        return float(same.first(answer, [winner]) == winner)
    return float(same.first(answer, classes) == winner)


def _count(answers: Sequence[str], rule: VoteRule, same: "_Same") -> Counter[str]:
    """Votes by the first member of each class, in order of appearance."""
    texts = Counter(a for a in answers if a != _UNUSABLE or rule.unparsed == "vote")
    if rule.count == "text":
        return texts
    classes = Counter[str]()
    for text, votes in texts.items():
        classes[same.first(text, classes)] += votes
    return classes


def _winner(classes: Counter[str], rule: VoteRule) -> tuple[str | None, bool]:
    """The class that wins, and whether several have the most votes."""
    most = max(classes.values(), default=0)
    largest = [first for first, votes in classes.items() if votes == most]
    tied = len(largest) > 1
    if not largest or (tied and rule.ties == "none"):
        return None, tied
    return largest[0], tied


class _Same:
    """Which answers are the same; no pair is compared twice."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._known: dict[tuple[str, str], bool] = {}

    def first(self, answer: str, firsts: Iterable[str]) -> str:
        """The first of the texts that the answer is graded correct against, or the answer."""
        pairs = [(answer, first) for first in takewhile(lambda first: first != answer, firsts)]
        self._compare([pair for pair in pairs if pair not in self._known])
        return next((first for answer, first in pairs if self._known[answer, first]), answer)

    def _compare(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Grade all of them at once, so that the workers share them."""
        self._known |= dict.fromkeys(pairs, False)
        # An unusable answer is no reference that anything could be compared with.
        graded = [(answer, first) for answer, first in pairs if _UNUSABLE not in (answer, first)]
        judgements = judge(graded, _LIMITS, strict=self._strict)
        for pair, judgement in zip(graded, judgements, strict=True):
            self._known[pair] = judgement.verdict == "correct"
