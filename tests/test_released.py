"""Released settings, on a class of their own."""

from dataclasses import dataclass
from typing import Any

import pytest

from rlent.released import take_released_settings

RELEASED = {"scale": 0.1, "limit": None}


@dataclass(frozen=True, kw_only=True)
class Options:
    model: str
    scale: float = 1.0
    limit: float | None = 2.0
    other: int = 3


@pytest.mark.parametrize("given", [{}, {"scale": 1.0}, {"scale": 0.1}, {"limit": None}])
def test_defaults_give_way(given: dict[str, Any]) -> None:
    options = Options(model="a", other=5, **given)
    take_released_settings(options, RELEASED)
    assert options == Options(model="a", scale=0.1, limit=None, other=5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"scale": 0.5}, "as_released means scale: 0.1, but scale: 0.5 is set too; remove one"),
        ({"limit": 0.0}, "as_released means limit: None, but limit: 0.0 is set too; remove one"),
    ],
)
def test_another_value_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        take_released_settings(Options(model="a", **given), RELEASED)


def test_a_default_of_a_class_below_counts() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Wider(Options):
        scale: float = 4.0

    options = Wider(model="a")
    take_released_settings(options, RELEASED)
    assert options.scale == 0.1
    with pytest.raises(ValueError, match=r"scale: 1\.0 is set"):
        take_released_settings(Wider(model="a", scale=1.0), RELEASED)
