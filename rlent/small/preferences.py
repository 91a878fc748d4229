"""Pairs of a right and a wrong working of one question."""

import random

from rlent.small.task import Question, work


def draw_preference(question: Question, rng: random.Random) -> tuple[str, str]:
    """A working that comes to the answer, and one that does not.

    Workings are drawn as ``work`` writes them until there is one of each; on a question whose facts are all sure a
    wrong one comes from a step taken with ``quick``.
    """
    found: dict[bool, str] = {}
    while len(found) < 2:
        working = work(question, rng)
        found.setdefault(working.split()[-1] == str(question.answer), working)
    return found[True], found[False]
