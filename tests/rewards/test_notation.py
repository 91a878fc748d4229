"""Unicode and rare LaTeX become what math-verify reads; everything else stays."""

import time

import pytest

from rlent_rewards.notation import readable


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("x\u00b2\u2070+1", "x^{20}+1"),
        ("10\u207b\u00b3", "10^{-3}"),
        ("a\u2081\u2082", "a_{12}"),
        ("\u221a12", r"\sqrt{12}"),
        ("\u221a 1.5x", r"\sqrt{1.5}x"),
        ("\u221a(x+1)", r"\sqrt{(x+1)}"),
        ("\u221a\u0662", r"\sqrt{2}"),
        ("\u215e", r"\frac{7}{8}"),
        ("2\u00bd", r"2\frac{1}{2}"),
        ("\uff08\uff11\uff0c\uff12\uff09", "(1,2)"),
        ("\u0661\u066c\u0662\u0663\u0664\u066b\u0665", "1,234.5"),
        ("\u2013\N{MINUS SIGN}7", "--7"),
        ("1\u202f234\u00a0567.5", "1234567.5"),
        ("-1 234", "-1234"),
        ("\u200f4\u200b2\ufeff", "42"),
        ("30\u00b0", r"30^\circ"),
        (r"\bigl(1,2\Bigr]", "(1,2]"),
        (r"\lbrace 1\rbrace", r"\{ 1\}"),
        (r"~5\,x~", r"5\,x"),
        ("5\\", "5"),
        ("\u00bd\ud800", "\\frac{1}{2}\ud800"),
    ],
)
def test_notation_is_replaced(text: str, read: str) -> None:
    assert readable(text) == read
    assert readable(read) == read


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 2345",
        "12 34",
        "1 234 + x",
        r"\bigcup",
        r"\lbracex",
        r"a\~=b",
        "x~=3",
        "\u03c0\u03b8",
        "\u2460\u216b\u4e00",
        r"\left(1\right)",
        "\\\\",
        "\ud800\x00",
    ],
)
def test_everything_else_stays(text: str) -> None:
    expected = text.removesuffix("\\")
    assert readable(text) == expected


@pytest.mark.parametrize("unit", ["\u221a", "\u221a(", "\u00bd", " 234", r"\big", "~", "\u00b2x"])
def test_it_takes_linear_time(unit: str) -> None:
    start = time.process_time()
    readable("1" + unit * (100_000 // len(unit)))
    assert time.process_time() - start < 10
