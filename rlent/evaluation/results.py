"""From answers to the numbers of a set.

With ``n`` samples, per problem:

=========  ===========================================================================================
pass@1     1 if the greedy completion is correct
avg@n      mean score of the drawn completions
pass@k     ``estimators.pass_at_k`` of the drawn completions, for k of 2 and more
maj@n      ``estimators.maj_at_k`` of the drawn completions, where the reward compares answers
=========  ===========================================================================================

and of the set the means over its problems. A completion is correct if its score is at least ``CORRECT``. A problem with
a completion that the reward does not score is in none of the means; how many these are is ``unscored``.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean, median
from typing import Any

from rlent.errors import RlentError
from rlent.evaluation.answers import Answer
from rlent.evaluation.difficulty_costs import DifficultyCosts, difficulty_costs
from rlent.evaluation.estimators import Interval, avg_at_k, bootstrap, maj_at_k, pass_at_k
from rlent.evaluation.problems import Kind, ProblemSet
from rlent.evaluation.votes import voting

CORRECT = 1.0
"""Least score of a correct completion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProblemResult:
    """One problem."""

    problem: int
    prompt: str
    reference: str | None
    metrics: dict[str, float] | None
    """None where the reward did not score every completion."""
    length: float
    """Mean over all its completions, in tokens."""
    entropy: float
    """Mean over all its tokens, in nats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextStatistics:
    """Of all completions of one kind."""

    length: float
    """Mean, in tokens."""
    length_median: float
    length_max: int
    truncated: float
    """Share that was cut off."""
    entropy: float
    """Mean over all tokens, in nats."""
    tallies: dict[str, float]
    """Shares that the decoding rule counted, by name: sum of the counts over sum of what they are of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SetResult:
    """One set."""

    name: str
    problems: tuple[ProblemResult, ...]
    metrics: dict[str, float]
    texts: dict[Kind, TextStatistics]
    difficulty: DifficultyCosts | None = None
    """Where a probe said what each problem is answered at."""

    @property
    def unscored(self) -> int:
        """Problems that are in no metric."""
        return sum(problem.metrics is None for problem in self.problems)

    def interval(self, metric: str) -> Interval:
        """The 95% interval of a metric (``estimators.bootstrap``)."""
        scored = [each.metrics for each in self.problems if each.metrics is not None]
        return bootstrap([metrics[metric] for metrics in scored])

    def rows(self) -> list[dict[str, Any]]:
        """A table of the problems; the metrics of one that has none are null."""
        return [
            {
                "problem": each.problem,
                "prompt": each.prompt,
                "reference": each.reference,
                **(each.metrics or dict.fromkeys(self.metrics)),
                "length": each.length,
                "entropy": each.entropy,
            }
            for each in self.problems
        ]

    def logged(self) -> dict[str, float]:
        """All numbers under the names of a training run, ``eval/<set>/pass@1`` and so on."""
        numbers = {**self.metrics, "unscored": float(self.unscored)}
        for kind, texts in self.texts.items():
            numbers |= {
                f"{kind}/length": texts.length,
                f"{kind}/truncated": texts.truncated,
                f"{kind}/entropy": texts.entropy,
                **{f"{kind}/{name}": share for name, share in texts.tallies.items()},
            }
        return {f"eval/{self.name}/{name}": value for name, value in numbers.items()}


def set_result(problems: ProblemSet, answers: Sequence[Answer]) -> SetResult:
    """The numbers of a set from all its answers, in order (``in_order``).

    Raises:
        RlentError: an answer is missing, or no problem has a score.
    """
    by_problem = [list(group) for _, group in groupby(answers, key=lambda each: each.problem)]
    expected = [None, *range(problems.samples)]
    complete = all([answer.sample for answer in group] == expected for group in by_problem)
    if not complete or len(by_problem) != len(problems.rows):
        raise RlentError(f"answers to {problems.name} are missing")
    each = tuple(_problem(problems, group) for group in by_problem)
    scored = [problem.metrics for problem in each if problem.metrics is not None]
    if not scored:
        raise RlentError(
            f"the reward of {problems.name} scored no problem: it gave None (or NaN) for every one"
        )
    drawn = [answer for answer in answers if answer.sample is not None]
    greedy = [answer for answer in answers if answer.sample is None]
    texts: dict[Kind, TextStatistics] = {"greedy": _texts(greedy)}
    if drawn:
        texts["sampled"] = _texts(drawn)
    return SetResult(
        name=problems.name,
        problems=each,
        metrics={name: avg_at_k([metrics[name] for metrics in scored]) for name in scored[0]},
        texts=texts,
        difficulty=difficulty_costs(problems, answers),
    )


def _problem(problems: ProblemSet, answers: Sequence[Answer]) -> ProblemResult:
    greedy, *drawn = answers
    tokens = sum(answer.length for answer in answers)
    return ProblemResult(
        problem=greedy.problem,
        prompt=greedy.prompt,
        reference=greedy.reference,
        metrics=_metrics(problems, greedy, drawn),
        length=tokens / len(answers),
        entropy=_entropy(answers),
    )


def _metrics(
    problems: ProblemSet, greedy: Answer, drawn: Sequence[Answer]
) -> dict[str, float] | None:
    scores = [answer.score for answer in drawn if answer.score is not None]
    if greedy.score is None or len(scores) < len(drawn):
        return None
    metrics = {"pass@1": float(greedy.score >= CORRECT)}
    if not scores:
        return metrics
    samples, correct = len(scores), [score >= CORRECT for score in scores]
    metrics[f"avg@{samples}"] = avg_at_k(scores)
    metrics |= {f"pass@{k}": pass_at_k(samples, sum(correct), k) for k in problems.k}
    if voting(problems.reward) is not None:
        metrics[f"maj@{samples}"] = maj_at_k([answer.answer for answer in drawn], correct)
    return metrics


def _entropy(answers: Sequence[Answer]) -> float:
    tokens = sum(answer.length for answer in answers)
    return sum(answer.entropy * answer.length for answer in answers) / tokens


def _texts(answers: Sequence[Answer]) -> TextStatistics:
    lengths = [answer.length for answer in answers]
    return TextStatistics(
        length=fmean(lengths),
        length_median=float(median(lengths)),
        length_max=max(lengths),
        truncated=sum(answer.finish == "length" for answer in answers) / len(answers),
        entropy=_entropy(answers),
        tallies=_shares(answers),
    )


def _shares(answers: Sequence[Answer]) -> dict[str, float]:
    counts, wholes = Counter[str](), Counter[str]()
    for tally in (tally for answer in answers for tally in answer.tallies):
        counts[tally.name] += tally.count
        wholes[tally.name] += tally.of
    return {name: counts[name] / whole for name, whole in wholes.items()}
