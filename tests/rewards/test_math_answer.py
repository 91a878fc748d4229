import time
from typing import Any

import pytest

import rlent_rewards.equivalence
from rlent_rewards import MathAnswer, completion_text
from rlent_rewards.recent import Recent
from rlent_rewards.workers import Limits, Pool

NO_TROUBLE = {
    f"rewards/math_answer/{trouble}": 0.0
    for trouble in ("unparsed", "refused", "timeouts", "crashes", "out_of_memory")
}


@pytest.mark.parametrize(
    ("completion", "reference", "reward"),
    [
        ("We get 1,234 in the end.", "1234", 1.0),
        ("We get 1,234 in the end.", "1,235", 0.0),
        ("#### -12", "-12", 1.0),
        ("#### 12", "-12", 0.0),
        ("The answer is 0.5.", "1/2", 1.0),
        (r"\boxed{\frac{1}{2}}", "0.5", 1.0),
        (r"\boxed{\frac{1}{3}}", "0.5", 0.0),
        (r"\boxed{1} then \boxed{2}. Checked 1 more time.", "2", 1.0),
        (r"\boxed{2} then \boxed{1}. Checked 2 more times.", "2", 0.0),
        (r"\boxed{\sqrt{8}}", r"2\sqrt{2}", 1.0),
        (r"\boxed{(x+1)^2}", "x^2+2x+1", 1.0),
        (r"\boxed{(x+1)^2}", "x^2+x+1", 0.0),
        (r"\boxed{\left(3, \frac{\pi}{2}\right)}", r"(3,\pi/2)", 1.0),
        (r"\boxed{x = 5}", "5", 1.0),
        (r"\boxed{2^{2023}}", "2^{2023}", 1.0),
        (r"\boxed{2**10}", "1024", 1.0),
        (r"\boxed{(\text{B})}", "B", 1.0),
        (r"\boxed{A}", "B", 0.0),
        ("The answer is 18 dollars.", "$18", 1.0),
        (r"\boxed{5\text{ cm}}", "5", 1.0),
        (r"\boxed{50\%}", "0.5", 1.0),
        (r"\boxed{90^\circ}", "90", 1.0),
        ("<answer> 7 </answer>", 7, 1.0),
        ("<answer> 7.5 </answer>", 7.5, 1.0),
        ("The answer is 7", r"so $\boxed{7}$", 1.0),
        ("I do not know", "7", 0.0),
        ("", "7", 0.0),
        (" \n", "7", 0.0),
        (r"\boxed{\frac{}", "7", 0.0),
    ],
)
def test_answers_are_compared_by_value(completion: str, reference: Any, reward: float) -> None:
    assert MathAnswer()([completion], answer=[reference]) == [reward]
    conversation = [{"role": "assistant", "content": completion}]
    assert MathAnswer()([conversation], answer=[reference]) == [reward]


def test_only_the_chosen_place_is_read() -> None:
    text = r"<answer>1</answer> \boxed{2} The answer is 3. Or 4"
    places = {"answer_tag": "1", "boxed": "2", "marker": "3", "last_number": "4"}
    for extract, answer in places.items():
        reward = MathAnswer(extract=extract)  # pyright: ignore[reportArgumentType]
        assert [reward([text], answer=[other])[0] for other in "1234"] == [
            float(other == answer) for other in "1234"
        ]


def test_the_last_assistant_message_counts() -> None:
    conversation = [
        {"role": "assistant", "content": "The answer is 1"},
        {"role": "tool", "content": "The answer is 2"},
        {"role": "assistant", "content": "The answer is 3"},
    ]
    assert completion_text(conversation) == "The answer is 3"
    assert completion_text([*conversation, {"role": "tool", "content": "4"}]) == "The answer is 3"


@pytest.mark.parametrize(
    "completion",
    [
        None,
        7,
        [],
        [{"role": "user", "content": "7"}],
        [{"role": "assistant", "content": None}],
        [7],
    ],
)
def test_a_completion_without_text_is_an_error(completion: object) -> None:
    with pytest.raises(ValueError, match="a completion must be a text or a conversation"):
        completion_text(completion)


def test_unparsed_and_refused_shares_are_logged() -> None:
    logged: dict[str, float] = {}
    completions = ["7", "none", r"\boxed{(((}", r"\boxed{10^{10^{10}}}"]
    rewards = MathAnswer()(
        completions, prompts=["p"] * 4, answer=["7"] * 4, log_metric=logged.__setitem__
    )
    assert rewards == [1.0, 0.0, 0.0, 0.0]
    assert logged == NO_TROUBLE | {
        "rewards/math_answer/unparsed": 0.5,
        "rewards/math_answer/refused": 0.25,
    }


def test_a_batch_without_trouble_logs_zero() -> None:
    logged: dict[str, float] = {}
    MathAnswer()(["7", "8"], answer=["7", "7"], log_metric=logged.__setitem__)
    assert logged == NO_TROUBLE


def test_answers_that_hang_crash_or_swell_score_zero_and_are_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = Pool("tests.rewards.tasks")
    monkeypatch.setattr(rlent_rewards.equivalence, "_pool", pool)
    monkeypatch.setattr(rlent_rewards.equivalence, "_known", Recent(size=4))
    logged: dict[str, float] = {}
    answers = ["x+1", "spin", "hog", "segfault", "spin", "7", "x+2", "x+3"]
    rewards = MathAnswer(timeout=0.5, memory_mb=64, workers=2)(
        [f"\\boxed{{{answer}}}" for answer in answers],
        answer=["y+1"] * 8,
        log_metric=logged.__setitem__,
    )
    pool.close()
    assert rewards == [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    assert logged == NO_TROUBLE | {
        "rewards/math_answer/timeouts": 0.25,
        "rewards/math_answer/crashes": 0.125,
        "rewards/math_answer/out_of_memory": 0.125,
    }


def test_limits_reach_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Limits] = []

    def run(pool: Pool, calls: Any, limits: Limits) -> list[Any]:
        seen.append(limits)
        return [["correct", None] for _ in calls]

    monkeypatch.setattr(rlent_rewards.equivalence, "run", run)
    monkeypatch.setattr(rlent_rewards.equivalence, "_known", Recent(size=4))
    for reward in (MathAnswer(), MathAnswer(timeout=3.5, memory_mb=100, workers=3)):
        reward([r"\boxed{1+x}"], answer=["x+1"])
    assert seen == [Limits(), Limits(timeout=3.5, memory_mb=100, workers=3)]


@pytest.mark.parametrize("option", ["timeout", "memory_mb", "workers"])
def test_limits_must_be_positive(option: str) -> None:
    given: Any = 0.0 if option == "timeout" else 0
    with pytest.raises(ValueError, match=f"math_answer: {option} must be positive; given: 0"):
        MathAnswer(**{option: given})


def test_a_missing_column_is_named_with_the_columns_present() -> None:
    with pytest.raises(ValueError, match=r"'answr'.*present: \['answer', 'level'\].*mean 'answer'"):
        MathAnswer(answer_column="answr")(
            ["7"],
            prompts=["p"],
            completion_ids=[[7]],
            answer=["7"],
            level=[1],
            trainer_state=object(),
        )


def test_a_column_of_another_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="'answer' has 1 values for 2 completions"):
        MathAnswer()(["7", "8"], answer=["7"])


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        (None, "neither a number nor LaTeX"),
        ("", "neither a number nor LaTeX"),
        (r"\frac{1", "neither a number nor LaTeX"),
        (["7"], "neither a number nor LaTeX"),
        ("long " * 50, "longer than 200 characters"),
        ("10^{10^{10}}", "a number of more than 100000 digits"),
    ],
)
@pytest.mark.parametrize("completion", ["7", "no answer"])
def test_an_unusable_reference_is_named(completion: str, reference: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=r"row 1 of column 'solution'") as error:
        MathAnswer(answer_column="solution")(["7", completion], solution=["7", reference])
    assert reason in str(error.value)
    assert repr(reference)[:200] in str(error.value)


def test_an_unknown_place_is_refused_with_the_nearest() -> None:
    reward = MathAnswer()
    # The type checker of the test run would stop the constructor before the check under test.
    object.__setattr__(reward, "extract", "box")
    with pytest.raises(ValueError, match="given: 'box'; did you mean 'boxed'"):
        reward.__post_init__()


SLOW_PATTERN, SLOW_TEXT = "(?:a|aa)+$", "a" * 60 + "!"
"""A pattern whose time doubles with every letter of such a text."""


@pytest.mark.parametrize(
    ("pattern", "completion", "reward"),
    [
        (r"RESULT\[(.*?)\]", "RESULT[1] RESULT[2] 3", 1.0),
        (r"RESULT\[(.*?)\]", "RESULT[2] RESULT[1] 2", 0.0),
        (r"RESULT\[(.*?)\]", "2", 0.0),
        (r"\d+(?= in all)", "2 in all, of 5", 1.0),
        (r"(?:a(\d))|b", "a2 b", 0.0),
        (r"= (.*)", "= $\\frac{4}{2}$.\n5", 1.0),
        (r"x*", "2", 0.0),
    ],
)
def test_a_pattern_finds_the_answer(pattern: str, completion: str, reward: float) -> None:
    assert MathAnswer(pattern=pattern)([completion], answer=["2"]) == [reward]


def test_a_pattern_that_takes_too_long_is_a_timeout_of_its_completion_alone() -> None:
    logged: dict[str, float] = {}
    start = time.monotonic()
    reward = MathAnswer(pattern=rf"{SLOW_PATTERN}|\d")
    texts = ["7", SLOW_TEXT, "8", "none"]
    assert reward(texts, answer=["7"] * 4, log_metric=logged.__setitem__) == [1.0, 0.0, 0.0, 0.0]
    assert logged == NO_TROUBLE | {
        "rewards/math_answer/timeouts": 0.25,
        "rewards/math_answer/unparsed": 0.25,
    }
    assert time.monotonic() - start < 30


def test_a_pattern_must_compile_and_stand_alone() -> None:
    with pytest.raises(ValueError, match=r"math_answer: pattern must be a regular .* given: '\('"):
        MathAnswer(pattern="(")
    with pytest.raises(ValueError, match="math_answer takes extract or pattern, not both"):
        MathAnswer(pattern="x", extract="boxed")


@pytest.mark.parametrize(
    ("answer", "reference", "lenient"),
    [
        ("t+1", "x+1", 1.0),
        ("t+2", "x+1", 0.0),
        ("y=2t+1", "y=2x+1", 1.0),
        ("a+2b", "x+2y", 1.0),
        ("2a+b", "x+2y", 0.0),
        ("a+b", "x+1", 0.0),
        ("x+y", "x+1", 0.0),
        ("t<3", "x<3", 1.0),
        ("1<x<2", "(1,2)", 1.0),
        ("1<x<3", "(1,2)", 0.0),
        ("f(t)=t^2", "f(x)=x^2", 1.0),
        ("A", "B", 0.0),
        (r"\text{cat}", r"\text{dog}", 0.0),
        (r"\begin{pmatrix}t\\1\end{pmatrix}", r"\begin{pmatrix}x\\1\end{pmatrix}", 1.0),
    ],
)
def test_lenience_is_about_the_names_of_variables_and_sets_of_solutions(
    answer: str, reference: str, lenient: float
) -> None:
    for strict in (True, False, True):
        reward = MathAnswer(strict=strict, timeout=20.0)
        scores = reward([rf"\boxed{{{answer}}}"], answer=[reference])
        assert scores == [0.0 if strict else lenient]


@pytest.mark.parametrize("strict", [True, False])
def test_what_is_equal_by_value_is_so_in_both_ways(strict: bool) -> None:
    pairs = [("x+1", "1+x"), ("0.5", "1/2"), (r"\{1,2\}", r"\{2,1\}"), ("x=3", "3"), ("B", "B")]
    pairs += [("(1,2)", "1<x<2"), ("x>2", "2<x"), ("xy", "yx"), (r"\sqrt{8}", r"2\sqrt{2}")]
    reward = MathAnswer(strict=strict, timeout=20.0)
    completions = [rf"\boxed{{{answer}}}" for answer, _ in pairs]
    assert reward(completions, answer=[reference for _, reference in pairs]) == [1.0] * len(pairs)
