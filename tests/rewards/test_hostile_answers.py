"""What would hang a process must be refused, and whatever is let through must return soon."""

import threading
from typing import Any

import pytest

from rlent_rewards import MathAnswer
from rlent_rewards.equivalence import reference_problem
from rlent_rewards.extraction import clean
from rlent_rewards.guards import text_refusal

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
        rewards.extend(MathAnswer()(completions, **columns))

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
    assert logged == {"rewards/math_answer/unparsed": 0.0, "rewards/math_answer/refused": 1.0}


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
    assert logged == {"rewards/math_answer/unparsed": 0.0, "rewards/math_answer/refused": 0.0}


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
    assert reference_problem(clean(reference)) is None
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
