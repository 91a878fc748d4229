"""How open the next word of a working is: the entropy of the law that the workings were drawn from, exactly."""

from collections.abc import Iterable
from math import log

from rlent.small.task import (
    OPENERS,
    QUICK_RATE,
    QUICK_RIGHT,
    SIGNS,
    Question,
    facts,
)


def word_entropies(question: Question, working: str) -> list[float]:
    """Entropy in nats of every word of a working of ``work``, given the question and the words before it.

    It is that of the generator's own law, in which the end after the last result is a word too, and not that of a
    model: 0 wherever the word follows from what stands before it.
    """
    words, found = working.split(), list[float]()
    value, done, check = question.start, 0, 0.0
    while left := len(question.operations) - done:
        quick = words[len(found)] == "quick"
        taken = question.operations[done : done + 1 + quick]
        sign = 0.0 if found else log(len(SIGNS))
        done += len(taken)
        found += [_fork(check, left), *[0.0] * (1 + 2 * len(taken)), sign]
        if quick:
            wrong = [(1 - QUICK_RIGHT) / 9] * 9
            found.append(_entropy([QUICK_RIGHT, *wrong]))
            check = 0.0
        else:
            level, _ = facts()[value, *taken[0]]
            found.append(_of_two(level.right))
            check = level.check
            if words[len(found) :][:1] == ["check"]:
                left = len(question.operations) - done
                found += [_fork(check, left), _of_two(level.checked)]
                check = 0.0
        value = int(words[len(found) - 1])
    return found


def _fork(check: float, left: int) -> float:
    """Of the word after a result: ``check``, the opener of a step, or with no operation left the end."""
    opener = _entropy(OPENERS.values()) if left else 0.0
    if left > 1:
        opener = _of_two(QUICK_RATE) + (1 - QUICK_RATE) * opener
    return _of_two(check) + (1 - check) * opener


def _of_two(probability: float) -> float:
    return _entropy([probability, 1 - probability])


def _entropy(probabilities: Iterable[float]) -> float:
    return sum(p * log(1 / p) for p in probabilities if p > 0)
