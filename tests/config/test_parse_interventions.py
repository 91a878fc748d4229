from dataclasses import dataclass
from typing import ClassVar

import pytest

from rlent.config import parse_interventions
from rlent.errors import ConfigError
from rlent.interventions import ForkingTokens, Intervention


@dataclass(frozen=True, kw_only=True)
class Own(Intervention):
    name: ClassVar[str] = "own"
    paper: ClassVar[str] = "none"
    writes: ClassVar[frozenset[str]] = frozenset()


def test_objects_mappings_and_names_can_be_mixed() -> None:
    own, listed = Own(), ForkingTokens(fraction=0.5)
    entries = [own, {"forking_tokens": {"fraction": 0.3}}, "forking_tokens", listed]
    parsed = parse_interventions(entries)
    assert parsed == (own, ForkingTokens(fraction=0.3), ForkingTokens(), listed)
    assert parsed[0] is own
    assert parsed[3] is listed


def test_no_interventions() -> None:
    assert parse_interventions([]) == parse_interventions(()) == ()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            [Own(), {"forking_tokens": {"fraction": 2}}],
            "interventions.1.forking_tokens.fraction: fraction must be in (0, 1], got 2.0",
        ),
        (
            [{"forking_tokens": {"fraction": "0.2"}}],
            "interventions.0.forking_tokens.fraction: wrong value\n"
            "  expected: a number\n"
            "  given: '0.2'",
        ),
        (
            [{"forking_tokens": {"fraction": 1j}}],
            "interventions.0.forking_tokens: a complex cannot stand in a recipe\n"
            "  expected: text, a number, true, false, null, a list or a mapping\n"
            "  given: 1j",
        ),
        (
            [{}],
            "interventions.0: an entry has one name, this one has 0 keys\n"
            "  expected: a name or {name: {options}}\n"
            "  change: indent the options below the name, and start every entry with a dash",
        ),
        (
            [ForkingTokens],
            "interventions.0: wrong value\n"
            "  expected: a name or {name: {options}}\n"
            "  given: <class 'rlent.interventions.forking_tokens.ForkingTokens'>",
        ),
        (
            {"forking_tokens": {}},
            "interventions: wrong value\n"
            "  expected: a list of names or {name: {options}}\n"
            "  given: {'forking_tokens': {}}",
        ),
        (
            "forking_tokens",
            "interventions: wrong value\n"
            "  expected: a list of names or {name: {options}}\n"
            "  given: 'forking_tokens'",
        ),
    ],
)
def test_what_is_refused_and_in_which_words(entries: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_interventions(entries)
    assert str(caught.value) == message
    assert caught.value.where is None
