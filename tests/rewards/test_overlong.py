import pytest

from rlent_rewards import Overlong


def punishments(reward: Overlong, lengths: list[int]) -> list[float]:
    ids = [list(range(length)) for length in lengths]
    return reward(["a text of any length"] * len(lengths), completion_ids=ids)


@pytest.mark.parametrize(("max_length", "cache"), [(10, 4), (10, 1), (10, 10), (1, 1), (7, 3)])
def test_it_is_equation_13_at_every_length(max_length: int, cache: int) -> None:
    lengths = list(range(max_length + 4))
    expected = []
    for length in lengths:
        if length <= max_length - cache:
            expected.append(0.0)
        elif length <= max_length:
            expected.append(((max_length - cache) - length) / cache)
        else:
            expected.append(-1.0)
    assert punishments(Overlong(max_length=max_length, cache=cache), lengths) == expected


def test_the_settings_of_dapo() -> None:
    reward = Overlong(max_length=20480)
    assert punishments(reward, [16384, 17408, 18432, 20480, 20481]) == [0, -0.25, -0.5, -1, -1]


def test_no_punishment_is_not_negative_zero() -> None:
    assert [str(value) for value in punishments(Overlong(max_length=4, cache=2), [0, 2])] == [
        "0.0",
        "0.0",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 0}, "max_length must be positive; given: 0"),
        ({"max_length": -5, "cache": 1}, "max_length must be positive; given: -5"),
        ({"max_length": 8, "cache": 0}, "cache must be positive; given: 0"),
        ({"max_length": 8, "cache": -1}, "cache must be positive; given: -1"),
        ({"max_length": 8, "cache": 9}, "cache must be at most max_length; given: cache=9"),
        ({"max_length": 4095}, "cache must be at most max_length; given: cache=4096"),
    ],
)
def test_impossible_lengths_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"overlong: {message}"):
        Overlong(**options)


def test_a_length_must_be_given() -> None:
    with pytest.raises(TypeError, match="max_length"):
        Overlong()  # pyright: ignore[reportCallIssue]


def test_without_the_tokens_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="overlong: completion_ids must be passed"):
        Overlong(max_length=8, cache=2)(["7"], answer=["7"])


def test_another_number_of_rows_is_an_error() -> None:
    with pytest.raises(ValueError, match="'completion_ids' has 1 values for 2 completions"):
        Overlong(max_length=8, cache=2)(["7", "8"], completion_ids=[[7]])
