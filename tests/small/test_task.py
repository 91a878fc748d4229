"""The task, read back from its text."""

import math
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from rlent.small import OPERATIONS, Question, draw_question, work
from rlent.small.task import LEVELS, OPENERS, OPERANDS, QUICK_RATE, QUICK_RIGHT, facts, result
from rlent_rewards import REWARDS

STEP = re.compile(
    r"(?P<opener>so|then|hence|quick) (?P<value>\d)(?P<operations>(?: [-+*] \d){1,2}) "
    r"(?P<sign>=|gives) (?P<first>\d)(?: check (?P<second>\d))?(?: |$)"
)


@dataclass(frozen=True)
class Step:
    opener: str
    value: int
    operations: str
    sign: str
    first: int
    second: int | None

    @property
    def right(self) -> int:
        return evaluated(f"{self.value}{self.operations}")

    @property
    def carried(self) -> int:
        return self.first if self.second is None else self.second


def evaluated(text: str) -> int:
    """From left to right modulo 10, by Python's own arithmetic on the text."""
    start, *words = text.split()
    value = int(start)
    for operator, operand in zip(words[::2], words[1::2], strict=True):
        value = eval(f"({value} {operator} {operand}) % 10")
    return value


def read(working: str) -> list[Step]:
    """The steps of a working that consists of nothing else."""
    steps, position = [], 0
    for match in STEP.finditer(working):
        assert match.start() == position, working
        position = match.end()
        opener, value, operations, sign, first, second = match.groups()
        last = None if second is None else int(second)
        steps.append(Step(opener, int(value), operations, sign, int(first), last))
    assert position == len(working), working
    return steps


def worked(count: int, operations: int, seed: int = 0) -> Iterator[tuple[Question, list[Step]]]:
    rng = random.Random(seed)
    for _ in range(count):
        question = draw_question(rng, operations)
        yield question, read(work(question, rng))


def assert_rate(hits: int, trials: int, rate: float) -> None:
    """Within five standard deviations of the binomial, and exact for the rates 0 and 1."""
    assert trials > 100
    assert abs(hits - rate * trials) <= 5 * math.sqrt(trials * rate * (1 - rate)), hits / trials


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    return [step for _, steps in worked(4000, 4) for step in steps]


def test_the_docstrings_example() -> None:
    question = Question(start=7, operations=(("+", 5), ("*", 3), ("-", 4)))
    assert question.text == "7 + 5 * 3 - 4 ="
    assert question.answer == ((7 + 5) * 3 - 4) % 10 == 2


@pytest.mark.parametrize("operations", OPERATIONS)
def test_answers_are_right(operations: int) -> None:
    rng = random.Random(operations)
    for _ in range(500):
        question = draw_question(rng, operations)
        start, *words, end = question.text.split()
        assert (len(words), end) == (2 * operations, "=")
        assert question.answer == evaluated(" ".join([start, *words]))
        for operator, operand in zip(words[::2], words[1::2], strict=True):
            assert int(operand) in ((3, 7, 9) if operator == "*" else range(1, 10))


@pytest.mark.parametrize("operator", OPERANDS)
def test_a_wrong_digit_stays_wrong(operator: str) -> None:
    for operand in OPERANDS[operator]:
        assert {result(value, (operator, operand)) for value in range(10)} == set(range(10))


@pytest.mark.parametrize("operations", OPERATIONS)
def test_a_working_does_the_question(operations: int) -> None:
    for question, steps in worked(500, operations):
        value = question.start
        for step in steps:
            assert step.value == value
            assert len(step.operations.split()) == (4 if step.opener == "quick" else 2)
            assert step.second is None or step.opener != "quick"
            value = step.carried
        assert f"{question.start}{''.join(step.operations for step in steps)} =" == question.text
        assert len({step.sign for step in steps}) == 1


def test_a_working_is_short() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        assert len(work(draw_question(rng, 5), rng).split()) <= 8 * 5


def test_questions_and_workings_follow_the_seed() -> None:
    def drawn(seed: int) -> list[str]:
        rng = random.Random(seed)
        return [work(draw_question(rng, 4), rng) for _ in range(20)]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


def test_facts_have_their_levels() -> None:
    assert len(facts()) == 10 * (9 + 9 + 3) == sum(level.facts for level in LEVELS)
    assert Counter(level for level, _ in facts().values()) == {
        level: level.facts for level in LEVELS
    }
    for (value, operator, operand), (_, rival) in facts().items():
        assert rival in range(10)
        assert rival != evaluated(f"{value} {operator} {operand}")


def test_mistakes_have_the_stated_rates(steps: list[Step]) -> None:
    first: dict[int, list[bool]] = {number: [] for number in range(len(LEVELS))}
    checks: dict[int, list[bool]] = {number: [] for number in range(len(LEVELS))}
    second: dict[int, list[bool]] = {number: [] for number in range(len(LEVELS))}
    for step in steps:
        if step.opener == "quick":
            continue
        operator, operand = step.operations.split()
        level, rival = facts()[step.value, operator, int(operand)]
        number = LEVELS.index(level)
        assert step.first in (step.right, rival)
        first[number].append(step.first == step.right)
        checks[number].append(step.second is not None)
        if step.second is not None:
            assert step.second in (step.right, rival)
            second[number].append(step.second == step.right)
    for number, level in enumerate(LEVELS):
        assert_rate(sum(first[number]), len(first[number]), level.right)
        assert_rate(sum(checks[number]), len(checks[number]), level.check)
        assert_rate(sum(second[number]), len(second[number]), level.checked)


def test_the_second_try_does_not_depend_on_the_first(steps: list[Step]) -> None:
    shaky = LEVELS[1]
    rights = {True: [], False: []}
    for step in steps:
        if step.second is not None:
            operator, operand = step.operations.split()
            if facts()[step.value, operator, int(operand)][0] == shaky:
                rights[step.first == step.right].append(step.second == step.right)
    for hits in rights.values():
        assert_rate(sum(hits), len(hits), shaky.checked)


def test_quick_steps_have_the_stated_rates(steps: list[Step]) -> None:
    chances = quick = 0
    for question, worked_steps in worked(4000, 4, seed=1):
        left = len(question.operations)
        for step in worked_steps:
            chances += left > 1
            quick += step.opener == "quick"
            left -= len(step.operations.split()) // 2
    assert_rate(quick, chances, QUICK_RATE)
    tries = [step for step in steps if step.opener == "quick"]
    assert_rate(sum(step.first == step.right for step in tries), len(tries), QUICK_RIGHT)
    wrong = Counter((step.first - step.right) % 10 for step in tries if step.first != step.right)
    for distance in range(1, 10):
        assert_rate(wrong[distance], wrong.total(), 1 / 9)


def test_words_without_consequences_have_the_stated_rates(steps: list[Step]) -> None:
    openers = Counter(step.opener for step in steps if step.opener != "quick")
    for opener, rate in OPENERS.items():
        assert_rate(openers[opener], openers.total(), rate)
    signs = [each[0].sign for _, each in worked(2000, 3)]
    assert_rate(signs.count("="), len(signs), 0.5)


def test_the_reward_reads_the_last_digit() -> None:
    reward = REWARDS["math_answer"](extract="last_number")
    rng = random.Random(0)
    questions = [draw_question(rng, 4) for _ in range(200)]
    workings = [work(question, rng) for question in questions]
    expected = [
        float(int(text.split()[-1]) == question.answer)
        for text, question in zip(workings, questions, strict=True)
    ]
    answers = [str(question.answer) for question in questions]
    assert reward(completions=workings, answer=answers) == expected
    assert 0.1 < sum(expected) / len(expected) < 0.5
