"""An evaluation on one or several processes.

Each process takes every ``ranks``-th chunk. Chunks follow from the set alone, so a completion has the same neighbours,
and the same bits, however many processes there are.
"""

from collections.abc import Callable

from rlent.evaluation.answering import Answerer
from rlent.evaluation.answers import Answer
from rlent.evaluation.problems import Chunk, ProblemSet
from rlent.evaluation.store import SetStore


def answer_share(
    answerer: Answerer, problems: ProblemSet, *, rank: int = 0, ranks: int = 1
) -> list[Answer]:
    """The answers of one process."""
    return [
        answer
        for chunk in problems.chunks[rank::ranks]
        for answer in answerer.answer(problems, chunk)
    ]


def store_share(
    answerer: Answerer,
    problems: ProblemSet,
    store: SetStore,
    *,
    rank: int = 0,
    ranks: int = 1,
    done: Callable[[Chunk], None] = lambda chunk: None,
) -> None:
    """The answers of one process, each chunk written when it is finished; chunks that are there already stay.

    ``done`` is told of each chunk that has been answered now.
    """
    for chunk in problems.chunks[rank::ranks]:
        if not store.has(chunk):
            store.write(chunk, answerer.answer(problems, chunk))
            done(chunk)
