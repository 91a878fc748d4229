"""What would hang a process is refused, what is let through ends soon, and the rest is killed."""

import itertools
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rlent_rewards.equivalence
from rlent_rewards import MathAnswer
from rlent_rewards.equivalence import judge, usable_references
from rlent_rewards.extraction import clean
from rlent_rewards.guards import text_refusal
from rlent_rewards.workers import Failure, Limits, Pool, run
from tests.rewards.hostile import PIECES, by_hand, formulas, pieced_together
from tests.rewards.processes import all_gone
from tests.rewards.test_math_answer import NO_TROUBLE

REFERENCES = ["5", r"\sin x", "x^2+y^2=1", "(1,2)", "x<3", r"\begin{pmatrix}1\\2\end{pmatrix}", "B"]
PATIENT = Limits(timeout=20.0)

# Without the guards each of these takes many seconds against some reference, most take for ever.
HOSTILE = [
    r"10^{10^{10}}",
    r"9^{9^{9^{9}}}",
    r"[0, (9^{9999})^{9999}]",
    r"\sqrt[999999]{10^{9999}+1}",
    r"((9!)!)!",
    r"e^{e^{e^{10}}}",
    r"\sin(e^{e^{99}})",
    r"\pi^{\pi^{\pi^{9}}}",
    r"\binom{1000000000}{500000000}",
    r"\binom{x}{500}",
    r"\int_0^1 e^{x^2} \sin x dx",
    r"(x+y+z)^{99}",
    r"(x+1)^{9999}",
    r"(x+a)(x+b)(x+c)(x+d)(x+e)(x+f)(x+g)(x+h)(x+i)(x+j)(x+k)(x+l)(x+m)(x+n)(x+o)(x+p)",
    r"\frac{1}{x+a}+\frac{1}{x+b}+\frac{1}{x+c}+\frac{1}{x+d}+\frac{1}{x+f}+\frac{1}{x+g}",
    r"\tan(x+y+z+w+a+b)",
    r"\sin(" * 20 + "1" + ")" * 20,
    "(" * 60 + "1" + ")" * 60,
    "a^" * 90 + "2",
    "|x|" * 60,
    "the number of apples that are left when all of the others were eaten by my dog",
    "9" * 100_000,
]


def scores(completions: list[str], references: list[str]) -> tuple[list[float], dict[str, float]]:
    """The rewards and the logged metrics, computed in a thread that must end within a minute."""
    rewards: list[float] = []
    logged: dict[str, float] = {}

    def work() -> None:
        columns: dict[str, Any] = {"answer": references, "log_metric": logged.__setitem__}
        rewards.extend(MathAnswer(timeout=20.0)(completions, **columns))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert not thread.is_alive(), "still at work after a minute"
    return rewards, logged


@pytest.mark.parametrize("reference", ["5", r"\sin x", "x^2+y^2=1"])
def test_hostile_answers_are_refused_in_a_thread(reference: str) -> None:
    completions = [f"\\boxed{{{answer}}}" for answer in HOSTILE]
    rewards, logged = scores(completions, [reference] * len(HOSTILE))
    assert rewards == [0.0] * len(HOSTILE)
    assert logged == NO_TROUBLE | {"rewards/math_answer/refused": 1.0}


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("9**9**9**9", "5"),
        ("x^{16}+x+1", "x^2+1"),
        ("7^{50}+x", r"\sin x"),
        ("e^{99}", r"\sin x"),
        ("(x+y+z)^{7}", r"\sin x"),
        (r"\sin(\sin(\sin(x)))", r"\frac{\sqrt{3}}{2}"),
        ("x^7+y^5=1", "x^2+y^2=1"),
        ("((((((((1))))))))", "x>3"),
        ("abcdfghjklmn" * 4, r"\sin x"),
        ("999!", "5"),
    ],
)
def test_what_is_let_through_ends_soon(answer: str, reference: str) -> None:
    rewards, logged = scores([f"\\boxed{{{answer}}}"], [reference])
    assert rewards == [0.0]
    assert logged == NO_TROUBLE


@pytest.mark.parametrize(
    "reference",
    [
        "x^3+3x-6",
        r"5(5-2x^4)(25+10x^4+4x^8)",
        r"\frac{1}{2}\left(1+\sqrt{5}\right)",
        r"\begin{pmatrix} -1/3 & 2/3 & 5 \\ 2/3 & -1 & 0 \\ 1 & 2 & 3 \end{pmatrix}",
        r"(-\infty,-2)\cup(-2,2)\cup(2,\infty)",
        r"\frac{(x+1)(x+2)}{(x+3)(x+4)}",
        r"(x-1)^2 + (y+2)^2 = 25",
        r"2^8\cdot 3^4\cdot 5^2\cdot 7",
        r"6.022\times 10^{23}",
        r"2^{2^{10}}",
        "2^{1005} - 1",
        "e^{-x^2}",
        "x^{100}",
        r"\binom{20}{10}",
        "n! + 10!",
        r"k = \pm 2",
        r"\sqrt{2+\sqrt{3}}",
        r"\$32,\!348",
        "|x|<3",
        r"\text{Tuesday}",
    ],
)
def test_ordinary_answers_pass_the_guards_and_equal_themselves(reference: str) -> None:
    assert usable_references([clean(reference)], PATIENT) == {clean(reference)}
    rewards, _ = scores([f"\\boxed{{{reference}}}"], [reference])
    assert rewards == [1.0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1" * 201, "longer than 200"),
        ("(" * 9, "nested deeper than 8"),
        ("x^2" * 13, "more than 12 of '^'"),
        ("1000!", "'!' of unbounded size"),
        ("5!!", "'!' of unbounded size"),
        (r"\sum_{i=1}^n i", r"'\\sum' of unbounded size"),
        ("1" * 200, None),
        ("(" * 8, None),
        (r"32,\!348 + 10! + n!", None),
    ],
)
def test_the_text_guard_names_its_reason(text: str, reason: str | None) -> None:
    refusal = text_refusal(text)
    assert refusal is None if reason is None else reason in (refusal or "")


@pytest.fixture
def unguarded() -> Iterator[Pool]:
    pool = Pool("tests.rewards.tasks_without_guards")
    yield pool
    pool.close()


@pytest.fixture
def algebra(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """Workers of this test alone."""
    pool = Pool("rlent_rewards.algebra")
    monkeypatch.setattr(rlent_rewards.equivalence, "_pool", pool)
    yield pool
    pool.close()


@pytest.mark.slow
def test_without_the_guards_hostile_answers_are_killed(unguarded: Pool) -> None:
    """The limits hold by themselves: nobody has to think of every hostile answer."""
    limits = Limits(timeout=0.5, memory_mb=128)
    calls = [("judge", (answer, "5")) for answer in HOSTILE[:13]]
    outcomes = run(unguarded, calls, limits)
    causes = [outcome.cause for outcome in outcomes if isinstance(outcome, Failure)]
    assert causes.count("timeout") >= 8
    assert all(isinstance(outcome, Failure) or outcome[0] != "correct" for outcome in outcomes)
    pids = unguarded.pids
    unguarded.close()
    assert all_gone(pids, within=30)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_hostile_corpus(algebra: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = list(dict.fromkeys([*by_hand(str(tmp_path)), *pieced_together(900), *formulas(1200)]))
    assert len(corpus) >= 2000
    monkeypatch.chdir(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    references = itertools.cycle(REFERENCES)
    suspects = [
        pair for pair in zip(corpus, references, strict=False) if not in_time(algebra, pair)
    ]
    # What a busy machine was late with once, it may be late with twice.
    assert [pair for pair in suspects if not any(in_time(algebra, pair) for _ in range(3))] == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
    pids = algebra.pids
    assert all(resident(pid) < 700 * 2**20 and not children(pid) for pid in pids)
    algebra.close()
    assert all_gone(pids, within=30)
    assert list(tmp_path.iterdir()) == []


def in_time(pool: Pool, pair: tuple[str, str]) -> bool:
    """Whether an answer is scored within its limit and a second, and needed no killing."""
    answer, reference = pair
    reward, logged = MathAnswer(), dict[str, float]()
    run(pool, [("judge", (None, "x+1"))] * 2, PATIENT)  # a worker's start is no answer's fault
    start = time.monotonic()
    rewards = reward([f"\\boxed{{{answer}}}"], answer=[reference], log_metric=logged.__setitem__)
    elapsed = time.monotonic() - start
    assert rewards in ([0.0], [1.0])
    killed = [logged[f"rewards/math_answer/{name}"] for name in FAILURES]
    return elapsed < reward.timeout + 1 and not any(killed)


FAILURES = ("timeouts", "crashes", "out_of_memory")


def resident(pid: int) -> int:
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


any_text = st.text(st.characters(exclude_categories=()), max_size=60)
half_latex = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


@pytest.mark.slow
@settings(
    derandomize=True,
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.lists(st.tuples(any_text | half_latex, any_text | half_latex), min_size=5, max_size=5))
def test_any_two_texts_are_judged(pairs: list[tuple[str, str]]) -> None:
    assert len(judge(pairs, PATIENT)) == 5
