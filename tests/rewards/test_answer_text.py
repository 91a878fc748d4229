import pytest

from rlent_rewards.answer_text import TextExtraction, answer_text

EVERYTHING = r"Answer: first. <answer> second </answer> \boxed{third}"


@pytest.mark.parametrize(
    ("method", "text", "answer"),
    [
        ("boxed", EVERYTHING, "third"),
        ("answer_tag", EVERYTHING, " second "),
        ("marker", EVERYTHING, "first"),
        ("whole", EVERYTHING, EVERYTHING),
        ("auto", EVERYTHING, "third"),
        ("auto", "Answer: first. <answer>second</answer>", "second"),
        ("auto", "The answer is **Paris**", "Paris**"),
        ("auto", "Paris", "Paris"),
        ("auto", r"\boxed{ } <answer>b</answer>", "b"),
        ("auto", " \n", None),
        ("auto", "", None),
        ("boxed", "Paris", None),
        ("answer_tag", "<answer> </answer>", None),
        ("whole", "2**10", "2**10"),
        ("last_word", "so 2 + 3 =\n 5 \n", "5"),
        ("last_word", EVERYTHING, r"\boxed{third}"),
        ("last_word", " \n", None),
    ],
)
def test_the_answer_is_where_the_method_says_and_unchanged(
    method: TextExtraction, text: str, answer: str | None
) -> None:
    assert answer_text(text, method) == answer
