"""Reward by the scorers of Reasoning Gym (https://github.com/open-thought/reasoning-gym)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, get_args

from rlent_rewards.answer_text import TextExtraction, answer_text
from rlent_rewards.choices import check_choice, did_you_mean
from rlent_rewards.protocol import Completion, column, completion_text, log_share
from rlent_rewards.workers import Failure, Limits, Pool, run

_MAX_CHARACTERS = 10_000
_FAILURES = {"timeout": "timeouts", "memory": "out_of_memory", "crash": "crashes"}
_LOGGED = ("unparsed", "refused", *_FAILURES.values(), "errors")

_pool = Pool("rlent_rewards.reasoning_gym_scorer")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReasoningGym:
    """The score of the task's own scorer, a number from 0.0 to 1.0.

    Rows are those of ``data: {name: reasoning_gym/...}``, with the columns ``answer`` and
    ``metadata``: the task is the ``source_dataset`` of the metadata, and rows of several tasks may
    be mixed. A scorer has the task's default options, as ``reasoning_gym.get_score_answer_fn``
    makes it, whatever options made the rows; in version 0.1.25 those of arc_agi,
    decimal_arithmetic, polynomial_equations, puzzle24, rearc and time_intervals read some.

    The scorers of binary_matrix, countdown, intermediate_integration, n_queens,
    polynomial_multiplication, puzzle24, simple_integration, spiral_matrix and string_insertion
    evaluate the answer as Python code, and others raise errors. So scorers run in worker processes,
    which have limits and cannot write to files, but are no sandbox.

    An answer that is missing or longer than 10,000 characters scores 0.0, as does one that takes a
    worker more than ``timeout`` or ``memory_mb``, makes it crash, or makes the scorer raise. Their
    shares are logged where the trainer passes ``log_metric``, as ``rewards/reasoning_gym/`` and
    ``unparsed``, ``refused``, ``timeouts``, ``out_of_memory``, ``crashes`` and ``errors``. A scorer
    that swallows its errors scores as it likes, also where it is short of memory.

    Raises:
        ValueError: reasoning-gym is not installed, an option is unknown or not positive, or a
            column is missing or not Reasoning Gym's.
    """

    extract: TextExtraction = "answer_tag"
    """Where the answer stands, as in ``exact``; Reasoning Gym's own prompts ask for ``<answer>``
    tags. White space at its ends is left out."""

    timeout: float = 5.0
    """Seconds that one answer may take; most take milliseconds, the first of a task up to one
    second."""

    memory_mb: int = 512
    """MiB by which a worker may grow over one answer."""

    workers: int | None = None
    """Worker processes to use; null is one per core that this process may use, at most 4."""

    def __post_init__(self) -> None:
        check_choice("reasoning_gym: extract", self.extract, get_args(TextExtraction))
        try:
            self._limits()
        except ValueError as error:
            raise ValueError(f"reasoning_gym: {error}") from None
        if find_spec("reasoning_gym") is None:
            raise ValueError(
                "reasoning_gym: the package reasoning-gym is not installed; "
                "pip install 'rlent[quickstart]'"
            )

    def _limits(self) -> Limits:
        return Limits(timeout=self.timeout, memory_mb=self.memory_mb, workers=self.workers)

    @property
    def __name__(self) -> str:
        return "reasoning_gym"

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float]:
        """The scorer's number per completion; none of version 0.1.25 was seen outside [0, 1].

        Raises:
            ValueError: a completion has no text, or the column ``answer`` or ``metadata`` is
                missing, of another length or not Reasoning Gym's.
            RuntimeError: the workers do not start.
        """
        entries = _entries(columns, rows=len(completions))
        texts = [answer_text(completion_text(item), self.extract) for item in completions]
        answers = [text.strip() if text else None for text in texts]
        results = [_at_once(answer) for answer in answers]
        asked = [row for row, result in enumerate(results) if result is None]
        calls = [("score", (answers[row], entries[row])) for row in asked]
        for row, outcome in zip(asked, run(_pool, calls, self._limits()), strict=True):
            results[row] = _FAILURES[outcome.cause] if isinstance(outcome, Failure) else outcome
        for name in _LOGGED:
            log_share(columns, f"reasoning_gym/{name}", [result == name for result in results])
        return [result if isinstance(result, float) else 0.0 for result in results]


def _at_once(answer: str | None) -> float | str | None:
    """What is logged of an answer that no scorer sees, or None."""
    if answer is None:
        return "unparsed"
    return "refused" if len(answer) > _MAX_CHARACTERS else None


def _entries(columns: Mapping[str, Any], *, rows: int) -> list[dict[str, Any]]:
    """The rows as Reasoning Gym's scorers read them."""
    answers = column(columns, "answer", rows=rows)
    metadata = map(_metadata, column(columns, "metadata", rows=rows), range(rows))
    return [
        {"answer": answer, "metadata": data} for answer, data in zip(answers, metadata, strict=True)
    ]


def _metadata(value: object, row: int) -> Mapping[str, Any]:
    """The metadata of one row, whose task is known."""
    try:
        metadata = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        metadata = None
    if not (isinstance(metadata, Mapping) and isinstance(metadata.get("source_dataset"), str)):
        raise ValueError(
            f"reasoning_gym: row {row} of column 'metadata' must hold the metadata of a Reasoning "
            f"Gym entry, as a mapping or as JSON, with its source_dataset; given: {value!r:.200}"
        )
    if (task := metadata["source_dataset"]) not in (tasks := _tasks()):
        raise ValueError(
            f"reasoning_gym: row {row} of column 'metadata' names a task that this version of "
            f"Reasoning Gym does not have: {task!r}{did_you_mean(task, tasks)}"
        )
    return metadata


@cache
def _tasks() -> tuple[str, ...]:
    from reasoning_gym.factory import DATASETS

    return tuple(DATASETS)
