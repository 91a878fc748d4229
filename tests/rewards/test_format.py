import time

import pytest

from rlent_rewards import Format

GOOD = "<think>two\nlines</think>\n<answer>4</answer>"


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        (GOOD, 1.0),
        (f"\n {GOOD} \n", 1.0),
        ("<think></think><answer></answer>", 1.0),
        ("<think>a < b</think><answer>4</answer>", 1.0),
        (f"Sure. {GOOD}", 0.0),
        (f"{GOOD} Done.", 0.0),
        ("<think>a</think> so <answer>4</answer>", 0.0),
        ("<answer>4</answer><think>a</think>", 0.0),
        ("<think>a<answer>4</answer></think>", 0.0),
        ("<think>a</think><answer>4", 0.0),
        ("<think>a<think>b</think><answer>4</answer>", 0.0),
        ("<think>a</think><answer>4</answer><answer>5</answer>", 0.0),
        ("<Think>a</Think><answer>4</answer>", 0.0),
        ("", 0.0),
    ],
)
def test_the_default_layout_is_think_then_answer(text: str, reward: float) -> None:
    assert Format()([text]) == [reward]
    assert Format()([[{"role": "assistant", "content": text}]]) == [reward]


def test_tags_replace_the_default_layout() -> None:
    reward = Format(tags=("plan", "code", "test"))
    assert reward(["<plan>1</plan> <code>2</code>\n<test>3</test>", GOOD]) == [1.0, 0.0]


def test_a_pattern_must_match_the_whole_completion_over_lines() -> None:
    reward = Format(pattern=r"Answer: .+\d")
    assert reward(["Answer: a\n4", "Answer: a\n4 ", "The Answer: 4", GOOD]) == [1.0, 0.0, 0.0, 0.0]


def test_many_tags_take_linear_time() -> None:
    text = "<think>" * 20_000 + "</think>" * 20_000 + " <answer>" + " " * 50_000 + "</answer>x"
    assert Format()([text, "<think>" + " " * 100_000 + "</think><answer></answer>"]) == [0.0, 1.0]


def test_tags_and_pattern_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="tags or pattern, not both"):
        Format(tags=("think",), pattern=".*")


def test_a_broken_pattern_is_refused_when_the_reward_is_made() -> None:
    with pytest.raises(ValueError, match=r"regular expression; given: '\(think'"):
        Format(pattern="(think")


@pytest.mark.parametrize("tags", [(), ("a", "a"), ("<think>",), ("",), ("1st",)])
def test_tags_must_be_distinct_names(tags: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="distinct names"):
        Format(tags=tags)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(a+)+b", "a" * 1_000_000 + "c"),
        (r"(x+x+)+y", "x" * 1_000_000),
        (r"<think>.*</think>.*<answer>.*</answer>", "<think></think><answer>" * 40_000),
    ],
)
def test_a_pattern_that_takes_too_long_is_given_up_and_counted(pattern: str, text: str) -> None:
    logged: dict[str, float] = {}
    start = time.process_time()
    rewards = Format(pattern=pattern)([text, ""], log_metric=logged.__setitem__)
    assert time.process_time() - start < 3
    assert rewards == [0.0, 0.0]
    assert logged == {"rewards/format/timeouts": 0.5}


def test_a_pattern_that_does_not_match_is_no_timeout_and_tags_log_nothing() -> None:
    logged: dict[str, float] = {}
    assert Format(pattern="a")(["b"], log_metric=logged.__setitem__) == [0.0]
    assert logged == {"rewards/format/timeouts": 0.0}
    logged.clear()
    assert Format()([GOOD], log_metric=logged.__setitem__) == [1.0]
    assert logged == {}
