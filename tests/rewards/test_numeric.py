from fractions import Fraction
from typing import Any

import pytest

from rlent_rewards import Numeric


def score(reward: Numeric, completion: str, reference: Any) -> float:
    return reward([completion], answer=[reference])[0]


@pytest.mark.parametrize(
    ("completion", "reference", "reward"),
    [
        (r"\boxed{42}", "42", 1.0),
        (r"\boxed{42}", 42, 1.0),
        (r"\boxed{42}", 42.0, 1.0),
        ("so it is 1,234.50", "1234.5", 1.0),
        (r"\boxed{\frac{1}{2}}", "0.5", 1.0),
        (r"\boxed{0.333333}", "1/3", 0.0),
        (r"\boxed{1/3}", "2/6", 1.0),
        (r"\boxed{0.1}", 0.1, 1.0),
        (r"\boxed{0.10000000000000001}", 0.1, 0.0),
        (r"\boxed{" + "1" * 150 + "2}", "1" * 150 + "3", 0.0),
        (r"\boxed{1e-7}", 1e-7, 1.0),
        (r"\boxed{2.5E3}", "2500", 1.0),
        (r"\boxed{-7}", "7", 0.0),
        (r"\boxed{50\%}", "50", 1.0),
        (r"\boxed{50\%}", "1/2", 1.0),
        (r"\boxed{0.5}", "50%", 1.0),
        (r"\boxed{50}", "50%", 1.0),
        (r"\boxed{50\%}", "0.5%", 0.0),
        (r"\boxed{18 dollars}", "18", 1.0),
        (r"\boxed{x = 5}", "5", 0.0),
        ("no number at all", "5", 0.0),
        ("", "5", 0.0),
    ],
)
def test_without_a_tolerance_values_must_be_equal(
    completion: str, reference: Any, reward: float
) -> None:
    assert score(Numeric(), completion, reference) == reward


@pytest.mark.parametrize("reference", ["-2.5", "10", "1/3", "0"])
@pytest.mark.parametrize(
    ("absolute", "relative"), [(0.3, 0.0), (0.0, 0.1), (0.5, 0.02), (1e-9, 1e-9)]
)
def test_a_tolerance_ends_exactly_where_it_says(
    reference: str, absolute: float, relative: float
) -> None:
    reward = Numeric(absolute_tolerance=absolute, relative_tolerance=relative, extract="boxed")
    value = Fraction(reference)
    allowed = max(Fraction(str(absolute)), Fraction(str(relative)) * abs(value))
    for sign in (-1, 1):
        for share, expected in ((Fraction(0), 1.0), (Fraction(1), 1.0), (Fraction(1001, 1000), 0)):
            answer = value + sign * share * allowed
            completion = rf"\boxed{{{answer.numerator}/{answer.denominator}}}"
            within = abs(answer - value) <= allowed
            assert score(reward, completion, reference) == float(within)
            assert float(within) == (1.0 if allowed == 0 else expected)


def test_the_relative_tolerance_is_a_share_of_the_reference_and_not_of_the_answer() -> None:
    reward = Numeric(relative_tolerance=0.1)
    assert score(reward, r"\boxed{110}", "100") == 1.0
    assert score(reward, r"\boxed{100}", "111.2") == 0.0
    assert score(reward, r"\boxed{100}", "110") == 1.0


def test_a_tolerance_is_the_decimal_that_is_written() -> None:
    # 0.3 as a binary number is a little less than 3/10.
    assert score(Numeric(absolute_tolerance=0.3), r"\boxed{1.3}", "1") == 1.0


def test_the_answer_stands_where_extract_says() -> None:
    text = r"\boxed{1} and then <answer>2</answer>, answer: 3. Or 4"
    found = {
        method: [n for n in range(1, 5) if score(Numeric(extract=method), text, n)]
        for method in ("auto", "boxed", "answer_tag", "marker", "last_number")
    }
    assert found == {
        "auto": [1],
        "boxed": [1],
        "answer_tag": [2],
        "marker": [3],
        "last_number": [4],
    }
    assert score(Numeric(extract="last_number"), "x = 5 m", "5") == 1.0


def test_the_reference_is_read_from_the_column() -> None:
    reward = Numeric(answer_column="target")
    assert reward([r"\boxed{7}"], target=["7"], answer=["8"]) == [1.0]


def test_answers_that_are_no_number_are_counted() -> None:
    logged: dict[str, float] = {}
    texts = [r"\boxed{7}", r"\boxed{x}", "", r"\boxed{" + "7" * 201 + "}"]
    rewards = Numeric()(texts, answer=["7"] * 4, log_metric=logged.__setitem__)
    assert rewards == [1.0, 0.0, 0.0, 0.0]
    assert logged == {"rewards/numeric/unparsed": 0.75}


@pytest.mark.parametrize(
    "reference", ["", "x", "5 and 7", None, True, [7], float("nan"), float("inf"), "7" * 201]
)
def test_a_reference_must_be_a_number(reference: Any) -> None:
    with pytest.raises(ValueError, match="numeric: row 1 of column 'answer' must hold a number"):
        Numeric()(["7", "7"], answer=["7", reference])


@pytest.mark.parametrize("option", ["absolute_tolerance", "relative_tolerance"])
@pytest.mark.parametrize("given", [-0.1, float("inf"), float("nan")])
def test_a_tolerance_must_be_finite_and_not_negative(option: str, given: float) -> None:
    with pytest.raises(ValueError, match=f"numeric: {option} must be 0 or more and finite"):
        Numeric(**{option: given})


def test_an_unknown_extraction_is_refused() -> None:
    reward = Numeric()
    # The type checker of the test run would stop the constructor before the check under test.
    object.__setattr__(reward, "extract", "box")
    with pytest.raises(ValueError, match=r"numeric: extract must be .* did you mean 'boxed'"):
        reward.__post_init__()


def test_a_column_must_be_there() -> None:
    with pytest.raises(ValueError, match="no column 'answer' in the dataset"):
        Numeric()(["7"], solution=["7"])
