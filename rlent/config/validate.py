"""A plain value to a dataclass: known keys, exact types, and messages in terms of the recipe.

pydantic checks the types of the JSON form in strict mode, in which a list becomes a tuple and ``1``
a float, but ``"0.2"`` is no number and ``1`` no boolean. Its messages are translated, because they
speak of Python.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from rlent.config.reader import below
from rlent.errors import ConfigError

T = TypeVar("T")

_SHORT_LIST = 12
_EXPECTED = {
    "Input should be a valid string": "a string",
    "Input should be a valid integer": "an integer",
    "Input should be a valid number": "a number",
    "Input should be a valid boolean": "true or false",
    "Input should be a valid array": "a list",
    "Input should be an object": "a mapping",
}


def parse_dataclass(cls: type[T], mapping: object, key: str) -> T:
    """An instance of a dataclass, with nested ones, from the mapping that stands at ``key``.

    Raises:
        ConfigError: an unknown or missing key, a wrong type, or a ValueError of ``__post_init__``,
            which is reported at the first given field that its text names.
    """
    _check_nested_keys(cls, mapping, key)
    return parse_value(cls, mapping, key)


def check_keys(mapping: Iterable[str], valid: Iterable[str], key: str) -> None:
    """Raise ConfigError for the first key of ``mapping`` that is not ``valid``."""
    valid = list(valid)
    for name in mapping:
        if name not in valid:
            raise ConfigError(
                "unknown key",
                key=below(key, name),
                expected=short_list(valid),
                given=name,
                choices=valid,
            )


def short_list(names: Iterable[str]) -> str | None:
    """The names in one line, or None where they are too many to read."""
    names = list(names)
    return ", ".join(names) if 0 < len(names) <= _SHORT_LIST else None


def parse_value(type_: Any, value: object, key: str) -> Any:
    """``value`` as the annotation ``type_``, strictly; unknown keys are not looked for.

    Raises:
        ConfigError: as ``parse_dataclass``.
    """

    def refuse(part: object) -> None:
        raise ConfigError(
            f"a {type(part).__name__} cannot stand in a recipe",
            key=key,
            expected="text, a number, true, false, null, a list or a mapping",
            given=part,
        )

    text = json.dumps(value, default=refuse)
    try:
        return _adapter(type_).validate_json(text, strict=True)
    except ValidationError as error:
        raise _translated(error.errors(include_url=False), value, key) from error


@cache
def _adapter(type_: Any) -> TypeAdapter:
    return TypeAdapter(type_)


def _check_nested_keys(cls: Any, value: object, key: str) -> None:
    if not isinstance(value, Mapping):
        return
    check_keys(value, [field.name for field in fields(cls)], key)
    hints = get_type_hints(cls)
    for name, item in value.items():
        _check_inside(hints[name], item, below(key, name))


def _check_inside(hint: Any, value: object, key: str) -> None:
    if is_dataclass(hint):
        _check_nested_keys(hint, value, key)
    elif get_origin(hint) is dict and isinstance(value, Mapping):
        for name, item in value.items():
            _check_inside(get_args(hint)[1], item, below(key, name))
    elif get_origin(hint) is tuple and isinstance(value, list):
        for position, item in enumerate(value):
            _check_inside(get_args(hint)[0], item, below(key, position))
    else:
        for inner in get_args(hint):
            _check_inside(inner, value, key)


def _translated(errors: list[ErrorDetails], value: object, key: str) -> ConfigError:
    by_key: dict[str, list[ErrorDetails]] = {}
    for error in errors:
        by_key.setdefault(_key(error, value, key), []).append(error)
    (first, alternatives), *others = by_key.items()
    result = _one(alternatives, first)
    if others:
        result.problem += f" (also wrong: {', '.join(other for other, _ in others)})"
    return result


def _key(error: ErrorDetails, value: Any, key: str) -> str:
    """Where the error is. pydantic puts the names of a union's branches into its location."""
    for part in error["loc"]:
        if isinstance(value, dict) and (part in value or error["type"] == "missing"):
            value = value.get(part)
        elif isinstance(value, list | tuple) and isinstance(part, int):
            value = value[part]
        else:
            break
        key = below(key, part)
    if error["type"] == "value_error" and isinstance(error["input"], dict):
        named = [word for word in re.findall(r"\w+", _refusal(error)) if word in error["input"]]
        return below(key, named[0]) if named else key
    return key


def _refusal(error: ErrorDetails) -> str:
    return error["msg"].removeprefix("Value error, ")


def _one(alternatives: list[ErrorDetails], key: str) -> ConfigError:
    error = alternatives[0]
    match error["type"]:
        case "value_error":
            return ConfigError(_refusal(error), key=key)
        case "missing":
            return ConfigError("the key is required", key=key)
    expected = " or ".join(dict.fromkeys(map(_expected, alternatives)))
    if error["input"] is None:
        return ConfigError("must not be null", key=key, expected=expected)
    choices = re.findall(r"'([^']*)'", expected)
    given = error["input"]
    return ConfigError("wrong value", key=key, expected=expected, given=given, choices=choices)


def _expected(error: ErrorDetails) -> str:
    return _EXPECTED.get(error["msg"], error["msg"].removeprefix("Input should be "))
