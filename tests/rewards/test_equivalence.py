"""The look at the values that spares SymPy's ``simplify`` changes no verdict."""

import pytest

import rlent_rewards.equivalence
from rlent_rewards.equivalence import grade, reference_problem

NUMBERS = [
    "0",
    "5",
    "0.5",
    "50%",
    "(50)",
    "1.414214",
    "1.4143",
    "141.4214",
    r"\sqrt{2}",
    r"\frac{\sqrt{2}}{100}",
    r"\frac{2}{\sqrt{2}}",
    r"100\sqrt{2}",
    r"\sqrt{2}-\sqrt{2}",
    r"x = \sqrt{2}",
    r"1 + i",
    r"\sqrt{-1}",
    r"7^{100}",
    r"7^{1000}",
    r"7^{1000} + 1",
    r"10^{-9}\sqrt{2}",
    r"\infty",
    r"\frac{1}{0}",
    r"\frac{0}{0}",
    r"\log(0)",
    r"\sin(1)",
    r"e^{2}",
    r"\pi",
    r"2\pi^{3} + e",
    r"\{\sqrt{2}\}",
]


def test_every_example_can_be_a_reference() -> None:
    assert [text for text in NUMBERS if reference_problem(text)] == []


@pytest.mark.parametrize("reference", NUMBERS)
def test_verdicts_are_those_of_math_verify(reference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = [grade(answer, reference) for answer in NUMBERS]
    monkeypatch.setattr(rlent_rewards.equivalence, "_far_apart", lambda left, right: False)
    assert verdicts == [grade(answer, reference) for answer in NUMBERS]


@pytest.mark.parametrize(
    ("answer", "reference"),
    [("3", r"\sqrt{2}"), (r"\sqrt{3}", r"\sqrt{2}"), (r"\frac{\pi}{3}", "1.5")],
)
def test_numbers_far_apart_are_not_simplified(
    answer: str, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reference_problem(reference) is None

    def refuse(*arguments: object, **options: object) -> bool:
        raise AssertionError

    parse, _ = rlent_rewards.equivalence._math_verify()
    monkeypatch.setattr(rlent_rewards.equivalence, "_math_verify", lambda: (parse, refuse))
    assert grade(answer, reference) == "wrong"
