"""How many answers a second rlent checks, beside math-verify called in a loop.

    python scripts/bench.py rewards [--checks 400] [--rounds 5] [--workers 2] [--out FOLDER]

Three ways check the same answers, and must agree on every one:

    rlent       the reward math_answer: numbers at once, the rest in worker processes with limits
    default     math-verify's parse and verify in a loop, with its timeouts (SIGALRM) as they come
    no timeout  the same without timeouts, so that one bad answer would hang it

Each round makes new answers, so that no memory of an earlier round helps; within a round the three take
turns, and each starts with empty caches. Reported are medians over the rounds of checks per second, after
one round to warm up, for three kinds of batches:

    numbers      integers, decimals, fractions; no two references are the same
    expressions  roots, polynomials, sets, intervals, matrices, equations; no two references are the same
    training     what a step of GRPO checks: 8 answers to each question, 3 in 10 questions with an expression
                 for an answer, wrong answers that repeat

Half of the answers are right; most of them are spelled unlike the reference.
"""

import argparse
import logging
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rlent_rewards import MathAnswer
from scripts.benchmarks.harness import machine, table, write

Pair = tuple[str, str]
Check = Callable[[Sequence[Pair]], list[bool]]
Random = random.Random


def integer(rng: Random) -> list[str]:
    """Spellings of one random value; the first is the reference's. So for all that follow."""
    a = rng.randint(-9_999, 999_999)
    return [f"{a}", f"{a:,}", f"{a}.0"]


def decimal(rng: Random) -> list[str]:
    a = rng.randint(1, 99_999)
    return [f"{a / 8}", f"{a / 8}0", rf"\frac{{{a}}}{{8}}"]


def fraction(rng: Random) -> list[str]:
    a, b = rng.randint(1, 999), rng.choice([2, 4, 5, 8])
    return [rf"\frac{{{a}}}{{{b}}}", f"{a}/{b}", f"{a / b}"]


def root(rng: Random) -> list[str]:
    a, b = rng.sample(range(2, 99), 2)
    return [rf"{a}\sqrt{{{b}}}", rf"\sqrt{{{b}}}\cdot {a}", rf"\sqrt{{{a * a * b}}}"]


def angle(rng: Random) -> list[str]:
    a, b = rng.sample(range(2, 99), 2)
    return [rf"\frac{{{a}\pi}}{{{b}}}", rf"{a}\pi/{b}", rf"\dfrac{{{a}}}{{{b}}}\pi"]


def polynomial(rng: Random) -> list[str]:
    a, b = rng.sample(range(2, 99), 2)
    return [f"x^2+{a}x+{b}", f"{b}+{a}x+x^2", f"x(x+{a})+{b}"]


def pair(rng: Random) -> list[str]:
    a, b = rng.sample(range(2, 99), 2)
    return [rf"\left({a}, {b}\right)", f"({a},{b})", rf"( {a} , \frac{{{2 * b}}}{{2}} )"]


def interval(rng: Random) -> list[str]:
    a, b = sorted(rng.sample(range(2, 99), 2))
    return [f"[{a},{b})", rf"\left[{a}, {b}\right)", rf"[{a}, \frac{{{2 * b}}}{{2}})"]


def finite_set(rng: Random) -> list[str]:
    a, b, c = rng.sample(range(2, 99), 3)
    return [rf"\{{{a},{b},{c}\}}", rf"\{{{c}, {a}, {b}\}}", rf"\{{{b},{c},{a}\}}"]


def assignment(rng: Random) -> list[str]:
    a = rng.randint(2, 999)
    return [f"x={a}", f"x = {a}.0", f"{a}"]


def line(rng: Random) -> list[str]:
    a, b = rng.sample(range(2, 99), 2)
    return [f"y={a}x+{b}", f"y = {b}+{a}x", f"y={a} x + {b}"]


def matrix(rng: Random) -> list[str]:
    a, b, c = rng.sample(range(2, 99), 3)
    rows = [rf"{a}&{b}\\{c}&1", rf" {a} & {b} \\ {c} & 1 "]
    spelled = [rf"\begin{{pmatrix}}{row}\end{{pmatrix}}" for row in rows]
    return [*spelled, rf"\begin{{bmatrix}}{rows[0]}\end{{bmatrix}}"]


NUMBERS = [integer, decimal, fraction]
EXPRESSIONS = [
    root,
    angle,
    polynomial,
    pair,
    interval,
    finite_set,
    assignment,
    line,
    matrix,
]


def apart(makers: list[Callable[[Random], list[str]]]) -> Callable[[int, Random], list[Pair]]:
    def pairs(count: int, rng: Random) -> list[Pair]:
        made = []
        for _ in range(count):
            make = rng.choice(makers)
            right, wrong = make(rng), make(rng)
            made.append((rng.choice(rng.choice([right, wrong])), right[0]))
        return made

    return pairs


def training(count: int, rng: Random) -> list[Pair]:
    made: list[Pair] = []
    while len(made) < count:
        make = rng.choice(EXPRESSIONS if rng.random() < 0.3 else NUMBERS)
        right, *wrong = make(rng), make(rng), make(rng)
        said = [rng.choice(rng.choice([right, rng.choice(wrong)])) for _ in range(8)]
        made.extend((answer, right[0]) for answer in said)
    return made[:count]


KINDS = {"numbers": apart(NUMBERS), "expressions": apart(EXPRESSIONS), "training": training}


def with_rlent(workers: int | None) -> Check:
    reward = MathAnswer(extract="boxed", workers=workers, timeout=60.0)

    def check(batch: Sequence[Pair]) -> list[bool]:
        completions = [f"So the answer is \\boxed{{{answer}}}." for answer, _ in batch]
        return [value == 1.0 for value in reward(completions, answer=[gold for _, gold in batch])]

    return check


def with_math_verify(timeout: int | None) -> Check:
    from math_verify import parse, verify

    def check(batch: Sequence[Pair]) -> list[bool]:
        verdicts = []
        for answer, reference in batch:
            gold = parse(f"\\boxed{{{reference}}}", parsing_timeout=timeout or 0)
            found = parse(f"So the answer is \\boxed{{{answer}}}.", parsing_timeout=timeout or 0)
            verdicts.append(verify(gold, found, timeout_seconds=timeout))
        return verdicts

    return check


def clear_caches() -> None:
    import math_verify.parser
    from sympy.core.cache import clear_cache

    clear_cache()
    math_verify.parser.parse_latex_cached.cache_clear()
    math_verify.parser.extract_latex.cache_clear()


def measure(ways: dict[str, Check], kind: str, checks: int, rounds: int) -> dict[str, float]:
    """Median checks per second of each way. Raises ValueError where two ways disagree."""
    rng = Random(f"{kind} {checks}")
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1, rounds):  # the first round is for warming up
        batch = KINDS[kind](checks, rng)
        verdicts = {}
        for name, check in ways.items():
            clear_caches()
            start = time.perf_counter()
            verdicts[name] = check(batch)
            if number >= 0:
                rates[name].append(checks / (time.perf_counter() - start))
        compare(batch, verdicts)
    return {name: statistics.median(values) for name, values in rates.items()}


def compare(batch: Sequence[Pair], verdicts: dict[str, list[bool]]) -> None:
    for (answer, reference), *said in zip(batch, *verdicts.values(), strict=True):
        if len(set(said)) > 1:
            raise ValueError(
                f"{answer!r} for {reference!r}: {dict(zip(verdicts, said, strict=True))}"
            )


def report(results: dict[str, dict[str, float]]) -> str:
    """The rates as a table in Markdown."""
    rows = [
        [
            kind,
            *(f"{rate:,.0f}" for rate in rates.values()),
            f"{rates['rlent'] / rates['default']:.1f}",
        ]
        for kind, rates in results.items()
    ]
    return table(["checks per second", *next(iter(results.values())), "rlent / default"], rows)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="bench.py rewards",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--checks", type=int, default=400, help="answers in a round (default: 400)")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (default: 5)")
    parser.add_argument("--workers", type=int, help="worker processes (default: the reward's)")
    parser.add_argument("--out", type=Path, help="folder for rewards.md and rewards.json")
    given = parser.parse_args(arguments)
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # that there is no timeout is no news
    ways = {
        "rlent": with_rlent(given.workers),
        "default": with_math_verify(5),
        "no timeout": with_math_verify(None),
    }
    results = {kind: measure(ways, kind, given.checks, given.rounds) for kind in KINDS}
    settings = {"checks": given.checks, "rounds": given.rounds, "workers": given.workers}
    record = {**settings, **machine("math-verify", "sympy"), "checks_per_second": results}
    write(given.out, "rewards", report(results), record)
