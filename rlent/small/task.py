"""Chains of arithmetic modulo 10, and written workings that are not always right.

A question is a digit and a few operations, ``7 + 5 * 3 - 4 =``, worked from left to right: only the last digit of every
result is kept and no operator binds tighter than another, so this one is ``((7 + 5) * 3 - 4) mod 10 = 2``. Operands are
1 to 9, and 3, 7 or 9 after ``*``. Each of these operations maps the ten digits one to one, so a wrong digit stays wrong
until another mistake: no wrong result is forgiven. A working writes the operations one by one,
and its last number is the answer::

    so 7 + 5 = 2 then 2 * 3 = 6 check 6 so 6 - 4 = 2

Some of the words are forks, all others follow from what stands before them:

* **Results.** Each of the 210 facts ``a op b`` has a level, the same for everyone. A fact that is not sure has a rival
  digit, which the level's probability puts in place of the right one; it is carried on.
* **Forks that matter.** After a result may stand ``check`` and a second try, which is right more often and takes the
  place of the first. ``quick`` takes two operations at once and leaves the result between them out; half are wrong.
* **Forks that do not.** Steps open with ``so``, ``then`` or ``hence``; a working writes ``=`` or ``gives`` throughout.
"""

import random
from dataclasses import dataclass
from functools import cache

OPERANDS = {"+": range(1, 10), "-": range(1, 10), "*": (3, 7, 9)}
OPERATIONS = range(3, 6)
"""Numbers of operations that a question may have."""

OPENERS = {"so": 0.5, "then": 0.3, "hence": 0.2}
SIGNS = ("=", "gives")
QUICK_RATE = 0.1
QUICK_RIGHT = 0.5
WORDS = (*"0123456789", *OPERANDS, *SIGNS, *OPENERS, "quick", "check")
"""Everything a question or a working may hold, separated by single spaces."""

Operation = tuple[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """How reliable the workings are on some of the facts."""

    facts: int
    """How many of the 210 facts have it."""
    right: float
    """Probability that a first try is right; else it is the fact's rival digit."""
    check: float
    """Probability that the first try is checked."""
    checked: float
    """Probability that the try after ``check`` is right, whatever the first one was."""


LEVELS = (
    Level(facts=116, right=1.0, check=0.15, checked=1.0),
    Level(facts=52, right=0.6, check=0.4, checked=0.95),
    Level(facts=21, right=0.2, check=0.25, checked=0.4),
    Level(facts=21, right=0.03, check=0.15, checked=0.06),
)
"""Sure, shaky, mistaken and buried. The right digit of a buried fact is seldom tried, so that a policy that has become
sure of the rival will not find it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A start and the operations on it, from left to right."""

    start: int
    operations: tuple[Operation, ...]

    @property
    def text(self) -> str:
        return " ".join([str(self.start), *map(_operation_text, self.operations), "="])

    @property
    def answer(self) -> int:
        return result(self.start, *self.operations)


def result(value: int, *operations: Operation) -> int:
    """The last digit after all operations."""
    for operator, operand in operations:
        match operator:
            case "+":
                value += operand
            case "-":
                value -= operand
            case "*":
                value *= operand
    return value % 10


def draw_question(rng: random.Random, operations: int) -> Question:
    """A question with that many operations, operator and operand uniform."""
    return Question(
        start=rng.randrange(10),
        operations=tuple(
            (operator := rng.choice("+-*"), rng.choice(OPERANDS[operator]))
            for _ in range(operations)
        ),
    )


def work(question: Question, rng: random.Random) -> str:
    """A working with the noise of this module; its last word is the digit it came to.

    At most 8 words per operation.
    """
    sign = rng.choice(SIGNS)
    words: list[str] = []
    value, done = question.start, 0
    while left := len(question.operations) - done:
        quick = left > 1 and rng.random() < QUICK_RATE
        taken = question.operations[done : done + 1 + quick]
        done += len(taken)
        opener = "quick" if quick else rng.choices([*OPENERS], [*OPENERS.values()])[0]
        tries = _quick_tries(value, taken, rng) if quick else _tries(value, taken[0], rng)
        words += [opener, str(value), *map(_operation_text, taken), sign]
        words += " check ".join(map(str, tries)).split()
        value = tries[-1]
    return " ".join(words)


def _tries(value: int, operation: Operation, rng: random.Random) -> list[int]:
    right = result(value, operation)
    level, rival = facts()[value, *operation]
    tries = [right if rng.random() < level.right else rival]
    if rng.random() < level.check:
        tries.append(right if rng.random() < level.checked else rival)
    return tries


def _quick_tries(value: int, operations: tuple[Operation, ...], rng: random.Random) -> list[int]:
    right = result(value, *operations)
    return [right if rng.random() < QUICK_RIGHT else (right + rng.randrange(1, 10)) % 10]


@cache
def facts() -> dict[tuple[int, str, int], tuple[Level, int]]:
    """Level and rival digit of every fact ``(value, operator, operand)``."""
    rng = random.Random(0)
    facts = [(a, op, b) for op, operands in OPERANDS.items() for b in operands for a in range(10)]
    rng.shuffle(facts)
    levels = [level for level in LEVELS for _ in range(level.facts)]
    return {
        (a, op, b): (level, (result(a, (op, b)) + rng.randrange(1, 10)) % 10)
        for (a, op, b), level in zip(facts, levels, strict=True)
    }


def _operation_text(operation: Operation) -> str:
    return f"{operation[0]} {operation[1]}"
