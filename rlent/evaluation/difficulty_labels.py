"""The problems of an evaluated set with their difficulty labels, and what the labels' limits would cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rlent.errors import ConfigError
from rlent.evaluation.answers import Answer
from rlent.evaluation.difficulty import DIFFICULTY_SETTINGS, Difficulty, DifficultyThresholds
from rlent.evaluation.results import CORRECT
from rlent.evaluation.selection import by_pass_variance, prompt_of


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
