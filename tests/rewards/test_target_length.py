import pytest

from rlent_rewards import TargetLength


def rewards(reward: TargetLength, lengths: list[int]) -> list[float]:
    ids = [list(range(length)) for length in lengths]
    return reward(["a text of any length"] * len(lengths), completion_ids=ids)


@pytest.mark.parametrize(("target", "width"), [(10, 4), (3, 8), (5, 1), (1, 1)])
def test_it_falls_linearly_on_both_sides(target: int, width: int) -> None:
    lengths = list(range(target + width + 3))
    expected = []
    for length in lengths:
        away = length - target if length > target else target - length
        expected.append(0.0 if away >= width else (width - away) / width)
    assert rewards(TargetLength(target=target, width=width), lengths) == pytest.approx(
        expected, abs=1e-15
    )


def test_the_ends_are_exact() -> None:
    reward = TargetLength(target=300, width=100)
    assert rewards(reward, [300, 350, 250, 400, 200, 401, 0]) == [1, 0.5, 0.5, 0, 0, 0, 0]


@pytest.mark.parametrize("option", ["target", "width"])
@pytest.mark.parametrize("given", [0, -1])
def test_options_must_be_positive(option: str, given: int) -> None:
    with pytest.raises(ValueError, match=f"target_length: {option} must be positive; given"):
        TargetLength(**{"target": 5, "width": 5, option: given})


def test_without_the_tokens_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="target_length: completion_ids must be passed"):
        TargetLength(target=5, width=5)(["7"], answer=["7"])


def test_another_number_of_rows_is_an_error() -> None:
    with pytest.raises(ValueError, match="'completion_ids' has 1 values for 2 completions"):
        TargetLength(target=5, width=5)(["7", "8"], completion_ids=[[7]])
