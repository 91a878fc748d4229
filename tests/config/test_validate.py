from dataclasses import dataclass
from typing import Literal

import pytest

from rlent.config.source import NOT_WRITTEN, Source
from rlent.config.validate import parse_dataclass
from rlent.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"the bounds cross: low {self.low} is above high {self.high}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    inner: Inner | None = None
    size: int | float | Literal["all"] = "all"
    pair: tuple[int, int] = (0, 0)


def refusal(mapping: object) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_dataclass(Outer, mapping, "outer")
    return str(caught.value)


def test_nested_dataclasses_and_unions() -> None:
    parsed = parse_dataclass(Outer, {"inner": {"low": -1}, "size": 3, "pair": [1, 2]}, "outer")
    assert parsed == Outer(inner=Inner(low=-1.0), size=3, pair=(1, 2))
    assert type(parsed.size) is int
    assert parse_dataclass(Outer, {}, "outer") == Outer()


def test_every_branch_of_a_union_is_expected() -> None:
    assert refusal({"size": [1]}) == (
        "outer.size: wrong value\n  expected: an integer or a number or 'all'\n  given: [1]"
    )


def test_a_refused_combination_is_reported_at_a_given_field_of_the_text() -> None:
    text = "the bounds cross: low 2.0 is above high 1.0"
    assert refusal({"inner": {"low": 2}}) == f"outer.inner.low: {text}"
    text = "the bounds cross: low 0.0 is above high -1.0"
    assert refusal({"inner": {"high": -1}}) == f"outer.inner.high: {text}"


def test_unknown_keys_come_before_wrong_types() -> None:
    assert refusal({"pair": 3, "inner": {"hihg": 1}}) == (
        "outer.inner.hihg: unknown key\n"
        "  expected: low, high\n"
        "  given: 'hihg'\n"
        "  did you mean: high"
    )


def test_a_source_gives_a_place_to_errors_without_one() -> None:
    source = Source(mapping={}, places={"": "r.yaml:1", "a": "r.yaml:4"})
    for key, where, expected in [
        ("a.b.c", None, "r.yaml:4"),
        ("b", None, "r.yaml:1"),
        (None, None, "r.yaml:1"),
        ("a", "elsewhere:2", "elsewhere:2"),
    ]:
        with pytest.raises(ConfigError) as caught, source.locating():
            raise ConfigError("wrong", key=key, where=where)
        assert caught.value.where == expected


def test_a_recipe_built_in_python_has_no_places() -> None:
    with pytest.raises(ConfigError) as caught, NOT_WRITTEN.locating():
        raise ConfigError("wrong", key="a.b")
    assert str(caught.value) == "a.b: wrong"
