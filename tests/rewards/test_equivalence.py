"""What is asked of the workers, what is not, and that the shortcuts in them change no verdict."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

import rlent_rewards.algebra
import rlent_rewards.equivalence
from rlent_rewards import algebra
from rlent_rewards.equivalence import Judgement, judge, usable_references
from rlent_rewards.recent import Recent
from rlent_rewards.workers import Call, Failure, Limits, Pool
from tests.rewards.answer_pairs import DOCUMENTED, PAIRS

LIMITS = Limits(timeout=3.0, memory_mb=64)
PATIENT = Limits(timeout=20.0)

NUMBERS = [
    "0",
    "5",
    "0.5",
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
FORMULAS = [
    "x",
    "ab",
    r"\text{ab}",
    "x+1",
    "1+x",
    "x+1.0000001",
    "2x",
    "2y",
    "x^2-1",
    "(x-1)(x+1)",
    r"\frac{x^2-1}{x-1}",
    r"\sqrt{x^2}",
    "x^{100}",
    "x^{-1}",
    "xy",
    "yx+0",
    "x_1+x_2",
    "x+1=0",
    "x+1>0",
    r"\begin{pmatrix}x+1\\2\end{pmatrix}",
    r"\frac{x}{2}",
    "50\\%",
    "0.5x",
    r"\sin(x)^2",
    "i+x",
]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Call]]:
    """The batches that the workers are sent, with nobody to do them but ``algebra`` itself."""
    batches: list[Sequence[Call]] = []

    def run(pool: Pool, calls: Sequence[Call], limits: Limits) -> list[Any]:
        batches.append(calls)
        return [algebra.judge(*question) for _, question in calls]

    monkeypatch.setattr(rlent_rewards.equivalence, "run", run)
    monkeypatch.setattr(rlent_rewards.equivalence, "_known", Recent(size=4))
    return batches


@pytest.fixture
def misbehaving(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Workers to which an answer says what they shall do."""
    pool = Pool("tests.rewards.tasks")
    monkeypatch.setattr(rlent_rewards.equivalence, "_pool", pool)
    monkeypatch.setattr(rlent_rewards.equivalence, "_known", Recent(size=4))
    yield
    pool.close()


def test_every_example_can_be_a_reference() -> None:
    assert usable_references([*NUMBERS, *FORMULAS], PATIENT) == {*NUMBERS, *FORMULAS}


@pytest.mark.slow
@pytest.mark.parametrize("examples", [NUMBERS, FORMULAS], ids=["numbers", "formulas"])
def test_looking_at_values_first_changes_no_verdict(
    examples: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [(answer, reference) for answer in examples for reference in examples]
    verdicts = [algebra.judge(*pair) for pair in pairs]
    monkeypatch.setattr(rlent_rewards.algebra, "_far_apart", lambda left, right: False)
    full = [algebra.judge(*pair) for pair in pairs]
    different = [pair for pair, a, b in zip(pairs, verdicts, full, strict=True) if a != b]
    assert different == []


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("3", r"\sqrt{2}"),
        (r"\sqrt{3}", r"\sqrt{2}"),
        (r"\frac{\pi}{3}", "1.5"),
        ("x^2+2x", "x^2+2x+1"),
        ("2x", "2y"),
        (r"\frac{1}{x}", "x+1"),
    ],
)
def test_values_far_apart_are_not_simplified(
    answer: str, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> bool:
        raise AssertionError

    parse, _ = algebra._math_verify()
    monkeypatch.setattr(rlent_rewards.algebra, "_math_verify", lambda: (parse, refuse))
    assert algebra.judge(answer, reference) == ("wrong", None)


@pytest.mark.slow
def test_the_fast_parser_reads_every_example_as_the_full_one() -> None:
    from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy

    from rlent_rewards.latex_parsing import FastConverter

    entries = [entry for group in (*PAIRS.values(), DOCUMENTED) for entry in group]
    texts = {text for entry in entries for text in (entry.answer, entry.reference)}
    texts |= {*NUMBERS, *FORMULAS}
    fast = {text: tree(FastConverter, text) for text in texts}
    full = {text: tree(_Latex2Sympy, text) for text in texts}
    # Where the cheaper prediction ends in a syntax error, the full one is asked.
    read = {text for text in texts if fast[text] is not None}
    assert {text: fast[text] for text in read} == {text: full[text] for text in read}
    assert len(read) > 0.9 * len([text for text in texts if full[text] is not None])


@pytest.mark.parametrize("text", ["0", "7", "007", "1,234", "9" * 150, "0.50", ".5", "3!", "1e5"])
def test_the_fast_parser_reads_numbers_as_the_full_one(text: str) -> None:
    from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy
    from sympy import srepr

    from rlent_rewards.latex_parsing import FastConverter

    read = FastConverter(is_real=True).parse(text)
    assert srepr(read) == srepr(_Latex2Sympy(is_real=True).parse(text))


def tree(converter: Any, text: str) -> str | None:
    """The parse tree, or None after a syntax error."""
    parser = converter(is_real=True).create_parser(text)
    try:
        return parser.math().toStringTree(recog=parser)
    except Exception:
        return None


def test_the_fast_parser_falls_back_on_the_full_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy

    from rlent_rewards import latex_parsing

    monkeypatch.setattr(latex_parsing, "_MISLED", "no rule")
    assert tree(latex_parsing.FastConverter, "x^2+1") is None
    read = latex_parsing.FastConverter(is_real=True).parse("x^2+1")
    assert read == _Latex2Sympy(is_real=True).parse("x^2+1")


def test_plain_numbers_and_hopeless_answers_are_judged_at_once(asked: list[Any]) -> None:
    pairs = [
        ("1,234", "1234"),
        ("7", "8"),
        (None, "7"),
        ("", "7"),
        ("9" * 201, "7"),
        ("1/2", "0.5"),
    ]
    verdicts = [judgement.verdict for judgement in judge(pairs, LIMITS)]
    assert verdicts == ["correct", "wrong", "unparsed", "unparsed", "refused", "correct"]
    assert asked == [[]]


def test_the_same_text_takes_a_look_at_the_reference_only(asked: list[Any]) -> None:
    assert judge([("x+1", "x+1"), ("x+", "x+")], LIMITS) == [
        Judgement("correct"),
        Judgement("unparsed", "neither a number nor LaTeX"),
    ]
    assert asked == [[("judge", (None, "x+1", True)), ("judge", (None, "x+", True))]]


def test_a_question_is_asked_once(asked: list[Any]) -> None:
    first = judge([("1+x", "x+1"), ("x", "x+1"), ("1+x", "x+1")], LIMITS)
    assert [judgement.verdict for judgement in first] == ["correct", "wrong", "correct"]
    assert judge([("x", "x+1"), ("1+x", "x+1"), ("x", "x+1")], LIMITS) == [
        first[1],
        first[0],
        first[1],
    ]
    assert [len(calls) for calls in asked] == [2, 0]


def test_what_is_remembered_is_bounded(asked: list[Any]) -> None:
    for number in range(12):
        judge([(f"{number}+x", f"x+{number}")], LIMITS)
    assert len(rlent_rewards.equivalence._known) == 4
    judge([("11+x", "x+11")], LIMITS)
    judge([("0+x", "x+0")], LIMITS)
    assert [len(calls) for calls in asked] == [1] * 12 + [0, 1]


def test_what_was_used_last_is_kept() -> None:
    recent = Recent(size=2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert [recent.get(key) for key in "abc"] == [1, None, 3]
    recent.put("c", 4)
    assert [recent.get(key) for key in "abc"] == [1, None, 4]


@pytest.mark.usefixtures("misbehaving")
def test_failures_are_verdicts_and_leave_the_others_alone() -> None:
    answers = ["x+1", "spin", "x+2", "segfault", "x+3", "hog", "x+4"]
    judgements = judge([(answer, "y+1") for answer in answers], LIMITS)
    assert [judgement.verdict for judgement in judgements] == [
        "correct",
        "timeout",
        "correct",
        "crash",
        "correct",
        "memory",
        "correct",
    ]
    assert [judgement.problem for judgement in judgements] == [None] * 7


def test_a_failure_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = iter([[Failure("timeout")], [["correct", None]], []])
    monkeypatch.setattr(rlent_rewards.equivalence, "_known", Recent(size=4))
    monkeypatch.setattr(rlent_rewards.equivalence, "run", lambda *arguments: next(outcomes))
    pair = [("never+asked", "asked+never")]
    assert judge(pair, LIMITS) == [Judgement("timeout")]
    assert judge(pair, LIMITS) == [Judgement("correct")]
    assert judge(pair, LIMITS) == [Judgement("correct")]


def test_a_reference_that_fails_is_no_usable_one_and_spoils_every_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed = [Failure("memory")]
    monkeypatch.setattr(rlent_rewards.equivalence, "run", lambda *arguments: failed)
    assert usable_references(["never+usable"], LIMITS) == set()
    assert judge([("", "never+usable")], LIMITS) == [Judgement("memory")]
    assert judge([("never+usable", "never+usable")], LIMITS) == [Judgement("memory")]


def test_usable_references_are_the_texts_as_they_were_given() -> None:
    texts = ["\u00bd", "x\u00b2", "7", "", "(((", "9" * 201, "10^{10^{10}}", r"\sum_{i=1}^n i"]
    assert usable_references(texts, PATIENT) == {"\u00bd", "x\u00b2", "7"}
