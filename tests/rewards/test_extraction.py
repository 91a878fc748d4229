import time

import pytest

from rlent_rewards.extraction import Extraction, clean, extract_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{5}.", "5"),
        (r"\boxed{3}, no, \boxed{4} it is", "4"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}} }", r"\{1, 2\}"),
        (r"\boxed{3} and \boxed{4", "3"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"{ \boxed{x^{2}}", "x^{2}"),
        (r"\fbox{9}", "9"),
        (r"$\boxed{18 \text{ cm}}$", r"18 \text{ cm}"),
        (r"\boxed{}", None),
        (r"\boxed{ }", None),
        (r"\boxed 5", None),
        ("5", None),
    ],
)
def test_boxed_takes_the_last_balanced_box(text: str, answer: str | None) -> None:
    assert extract_answer(text, "boxed") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>1</think><answer>2</answer>", "2"),
        ("<answer>1</answer> <answer>\n2 \n</answer> 3", "2"),
        ("<answer>1</answer> <answer>2", "1"),
        ("<answer>$x+1$</answer>", "x+1"),
        ("<answer></answer>", None),
        ("</answer>2<answer>", None),
        ("2", None),
    ],
)
def test_answer_tag_takes_the_last_closed_tag(text: str, answer: str | None) -> None:
    assert extract_answer(text, "answer_tag") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("He sold 72.\n#### 72", "72"),
        ("#### -1,234.5", "-1,234.5"),
        ("#### Step 2\nmore", None),
        ("Answer: 7", "7"),
        ("**Answer:** 7.", "7"),
        ("**Final answer**: **7**", "7"),
        ("The answer is 3.5. Then 9 more.", "3.5"),
        ("The answer is 3. No, the answer is: 4", "4"),
        ("ANSWER = 12", "12"),
        (r"The final answer is $\frac{1}{2}$.", r"\frac{1}{2}"),
        ("The answer is\n\\[\nx = 5.\n\\]", "x = 5."),
        ("Answer: the value is $x+1$ as shown", "x+1"),
        ("The answer is $5 and $6", "$5 and $6"),
        ("My answers are many", None),
        ("It is 7", None),
    ],
)
def test_marker_takes_the_sentence_after_the_last_marker(text: str, answer: str | None) -> None:
    assert extract_answer(text, "marker") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("2 + 3 = 5 apples.", "5"),
        ("7 - 9 = -2", "-2"),
        ("that is 5-3", "3"),
        ("- 5 apples", "5"),
        ("paid $1,234.50 in total", "$1,234.50"),
        ("between (1,23)", "23"),
        ("about 3/4 of it", "3/4"),
        (r"so $2\frac{1}{2}$ cups", "$2 1/2"),
        ("a share of 12.5%!", "12.5%"),
        ("1.5e-3 metres", "1.5e-3"),
        ("the value .5", ".5"),
        ("H2O and A1", None),
        ("none", None),
    ],
)
def test_last_number_reads_numbers_as_people_write_them(text: str, answer: str | None) -> None:
    assert extract_answer(text, "last_number") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"#### 1 <answer>2</answer> \boxed{3} 4", "3"),
        ("#### 1\n<answer>2</answer> 4", "2"),
        ("#### 1\n4", "1"),
        ("first 3, then 4", "4"),
        (r"\boxed{} and 4", "4"),
        ("", None),
        (" \n\t ", None),
    ],
)
def test_auto_takes_the_first_method_that_finds_something(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        (r"\( x \)", "x"),
        (r"\[x\]", "x"),
        ("$$x$$", "x"),
        ("**x**.", "x"),
        ("2**10", "2^10"),
        (r"\$18", r"\$18"),
        ("`7`;", "7"),
    ],
)
def test_clean_removes_what_is_not_the_answer(raw: str, answer: str) -> None:
    assert clean(raw) == answer


@pytest.mark.parametrize("method", ["boxed", "answer_tag", "marker", "last_number"])
def test_extraction_takes_linear_time(method: Extraction) -> None:
    pieces = ["1", "1,111,", r"\boxed{", "<answer>", "</answer>", "answer is \\[", "answer ", "{"]
    pieces += ["1/", "1 ", "$a", r"\frac{1}{", "answer" + 50 * " ", "answer is :*", "#### 1", "-1"]
    start = time.process_time()
    for piece in pieces:
        extract_answer(piece * (100_000 // len(piece)), method)
    # 1.6 million characters take well under a second; one quadratic pattern takes minutes.
    assert time.process_time() - start < 20
