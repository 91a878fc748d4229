"""A set of sums for the tiny model."""

from collections.abc import Callable, Sequence
from typing import Any

from rlent.evaluation import Answer, Answerer, ProblemSet
from tests.tiny import tiny_model, tiny_tokenizer

Reward = Callable[..., Sequence[float | None]]


def even_lengths(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
    return [float(len(ids) % 2 == 0) for ids in completion_ids]


def sums(count: int = 7, *, reward: Reward = even_lengths, **settings: Any) -> ProblemSet:
    rows = [
        {"prompt": " ".join(["1 +"] * (i % 3)) + f" {i % 10} =", "answer": str(i)}
        for i in range(count)
    ]
    return ProblemSet(**({"name": "sums", "rows": rows, "reward": reward, "length": 6} | settings))


def answerer(**settings: Any) -> Answerer:
    return Answerer(
        **({"model": tiny_model(), "tokenizer": tiny_tokenizer(), "ends": (1,)} | settings)
    )


def all_answers(problems: ProblemSet) -> list[Answer]:
    answering = answerer()
    return [answer for chunk in problems.chunks for answer in answering.answer(problems, chunk)]


def make_answer(problem: int, sample: int | None, **fields: Any) -> Answer:
    given = {
        "prompt": f"problem {problem}",
        "reference": "1",
        "completion": "",
        "answer": None,
        "score": 0.0,
        "length": 4,
        "finish": "eos",
        "entropy": 1.0,
    }
    return Answer(problem=problem, sample=sample, **(given | fields))
