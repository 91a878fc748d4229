"""Difficulty labels of an evaluated set's problems, and the decoding settings of each label.

DiffAdapt (arXiv 2510.19669, read in an account alone). Of a problem's drawn completions ``a`` is the share that is
correct and ``H`` the mean entropy of all their tokens, in nats at the evaluation's temperature::

    normal   a >= alpha and H <= beta
    hard     otherwise, if a < gamma
    easy     otherwise: among them those that are solved at a high entropy

========  ===========  =====================
label     temperature  most tokens
========  ===========  =====================
easy      0.5          0.4 of the set's most
normal    0.8          the set's most
hard      0.4          0.5 of the set's most
========  ===========  =====================

Unverified: the values of ``alpha``, ``beta`` and ``gamma``, which therefore have no defaults; whether ``H`` weighs
tokens alike, as here, or completions, and at which temperature; and how a share of tokens is rounded (here down). Left
out: the prompts of the paper's strategies, which could not be verified. ``difficulty_probe`` predicts labels from
prompts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from rlent.errors import ConfigError
from rlent.evaluation.answers import Answer
from rlent.evaluation.results import CORRECT
from rlent.evaluation.selection import by_pass_variance, prompt_of

Difficulty = Literal["easy", "normal", "hard"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DifficultySettings:
    """How the problems of one label are answered."""

    temperature: float
    length_share: float
    """Of the most tokens of a completion."""

    def limit(self, length: int) -> int:
        """Most tokens of a completion where the set allows ``length``; at least one."""
        return max(int(self.length_share * length), 1)


DIFFICULTY_SETTINGS: Mapping[Difficulty, DifficultySettings] = {
    "easy": DifficultySettings(temperature=0.5, length_share=0.4),
    "normal": DifficultySettings(temperature=0.8, length_share=1.0),
    "hard": DifficultySettings(temperature=0.4, length_share=0.5),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class DifficultyThresholds:
    """Where labels begin and end. Raises ConfigError that names the one out of its range."""

    alpha: float
    """Least accuracy of a normal problem, 0 to 1."""
    beta: float
    """Highest mean entropy of a normal problem, in nats."""
    gamma: float
    """Accuracy below which a problem is hard unless it is normal, 0 to 1."""

    def __post_init__(self) -> None:
        for name, share in (("alpha", self.alpha), ("gamma", self.gamma)):
            if not 0 <= share <= 1:
                raise ConfigError("not an accuracy", key=name, expected="0 to 1", given=share)
        if not 0 <= self.beta < float("inf"):
            raise ConfigError(
                "not an entropy", key="beta", expected="nats, 0 or more", given=self.beta
            )

    def label(self, accuracy: float, entropy: float) -> Difficulty:
        """The label of a problem. Raises ConfigError if ``accuracy`` is no share or ``entropy`` (nats) is below 0."""
        if not 0 <= accuracy <= 1:
            raise ConfigError("not a share", key="accuracy", expected="0 to 1", given=accuracy)
        if not 0 <= entropy < float("inf"):
            raise ConfigError(
                "not an entropy", key="entropy", expected="nats, 0 or more", given=entropy
            )
        if accuracy >= self.alpha and entropy <= self.beta:
            return "normal"
        return "hard" if accuracy < self.gamma else "easy"


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledProblem:
    """One problem with its label."""

    drawn: tuple[Answer, ...]
    """Its drawn completions, at least one."""
    accuracy: float
    entropy: float
    """Mean over all tokens of the drawn completions, in nats."""
    label: Difficulty

    def limit(self, length: int) -> int:
        """Most tokens of a completion of this problem where the set allows ``length``."""
        return DIFFICULTY_SETTINGS[self.label].limit(length)

    def row(self, length: int) -> dict[str, object]:
        """A row of data: ``prompt``, ``answer``, the label, what it follows from, and its settings."""
        first = self.drawn[0]
        return {
            "prompt": prompt_of(first.prompt),
            "answer": first.reference,
            "place": first.problem,
            "difficulty": self.label,
            "accuracy": self.accuracy,
            "entropy": self.entropy,
            "temperature": DIFFICULTY_SETTINGS[self.label].temperature,
            "max_completion_length": self.limit(length),
        }


def labelled(answers: Sequence[Answer], thresholds: DifficultyThresholds) -> list[LabelledProblem]:
    """The problems of a set with their labels, by their place; those with an unscored drawn completion are left out.

    Args:
        answers: in order (``in_order``); greedy completions are not looked at.

    Raises:
        ConfigError: no problem has drawn completions that are all scored.
    """
    accuracies = {each.problem: each.correct / each.samples for each in by_pass_variance(answers)}
    if not accuracies:
        raise ConfigError(
            "no problem has drawn completions that are all scored",
            remedy="evaluate with --samples K first",
        )
    drawn = [each for each in answers if each.sample is not None and each.problem in accuracies]
    groups = [tuple(group) for _, group in groupby(drawn, key=lambda each: each.problem)]
    return [_labelled(group, accuracies[group[0].problem], thresholds) for group in groups]


def kept_tokens(problems: Sequence[LabelledProblem], length: int) -> float:
    """Share of the drawn tokens that is left when every completion is cut at its label's limit.

    Completions are those of the evaluation: what the other temperature would do to their lengths is not in it.
    """
    pairs = [(each.length, problem.limit(length)) for problem in problems for each in problem.drawn]
    return sum(min(pair) for pair in pairs) / sum(written for written, _ in pairs)


def cut_correct(problems: Sequence[LabelledProblem], length: int) -> float | None:
    """Share of the correct drawn completions that are longer than their label's limit; None if none is correct."""
    cut = [
        each.length > problem.limit(length)
        for problem in problems
        for each in problem.drawn
        if each.score is not None and each.score >= CORRECT
    ]
    return sum(cut) / len(cut) if cut else None


def _labelled(
    drawn: tuple[Answer, ...], accuracy: float, thresholds: DifficultyThresholds
) -> LabelledProblem:
    tokens = sum(each.length for each in drawn)
    entropy = sum(each.entropy * each.length for each in drawn) / tokens
    label = thresholds.label(accuracy, entropy)
    return LabelledProblem(drawn=drawn, accuracy=accuracy, entropy=entropy, label=label)
