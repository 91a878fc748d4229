"""Which problems of an evaluated set a model is least sure to solve."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rlent.errors import ConfigError
from rlent.evaluation.answers import Answer
from rlent.evaluation.results import CORRECT

_ROLE = re.compile(r"^(system|user|assistant): ", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class RankedProblem:
    """One problem with what its drawn completions say."""

    problem: int
    prompt: str
    reference: str | None
    correct: int
    samples: int

    @property
    def pass_variance(self) -> float:
        """Variance over the drawn completions of being correct: ``p (1 - p)`` with ``p = correct / samples``."""
        share = self.correct / self.samples
        return share * (1 - share)

    def row(self) -> dict[str, object]:
        """A row of data: ``prompt``, ``answer``, and why it was chosen."""
        return {
            "prompt": prompt_of(self.prompt),
            "answer": self.reference,
            "place": self.problem,
            "correct": self.correct,
            "samples": self.samples,
            "pass_variance": self.pass_variance,
        }


def by_pass_variance(answers: Sequence[Answer]) -> list[RankedProblem]:
    """The problems of a set, those whose drawn completions differ most in being correct first, then by their place.

    One-shot Entropy Minimization (arXiv 2505.20282) chooses the prompt whose pass@k varies most; the variance meant
    there is known second-hand alone, and this reading of it is this file's. It is largest, 1/4, where half of the
    completions are correct. Problems with a completion that the reward did not score are left out.

    Args:
        answers: in order (``in_order``).
    """
    ranked = []
    for problem, group in groupby(answers, key=lambda each: each.problem):
        first, *drawn = list(group)
        drawn = [answer for answer in (first, *drawn) if answer.sample is not None]
        scores = [answer.score for answer in drawn]
        if not scores or any(score is None or math.isnan(score) for score in scores):
            continue
        correct = sum(score is not None and score >= CORRECT for score in scores)
        ranked.append(
            RankedProblem(
                problem=problem,
                prompt=first.prompt,
                reference=first.reference,
                correct=correct,
                samples=len(scores),
            )
        )
    return sorted(ranked, key=lambda each: -each.pass_variance)


def prompt_of(text: str) -> str | list[dict[str, str]]:
    """The prompt that an evaluation wrote down as text: text, or chat messages (``rlent.data.prompt_text`` made it).

    Raises:
        ConfigError: of chat messages other than one of the user, perhaps after one of the system, the text does not say
            where each begins.
    """
    if not _ROLE.match(text):
        return text
    roles = [match[1] for match in _ROLE.finditer(text)]
    if roles not in (["user"], ["system", "user"]):
        raise ConfigError(
            "the prompt is a conversation that cannot be put together again from its text",
            given=f"{text[:60]!r}",
            expected="one message of the user, perhaps after one of the system",
            remedy="take its row from the data by its number, which is its place in the set",
        )
    starts = [match.end() for match in _ROLE.finditer(text)]
    ends = [*(match.start() - 1 for match in list(_ROLE.finditer(text))[1:]), len(text)]
    return [
        {"role": role, "content": text[start:end]}
        for role, start, end in zip(roles, starts, ends, strict=True)
    ]
