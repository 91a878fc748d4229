"""Prompt templates: ``str.format`` over the columns of the data."""

import re
from collections.abc import Iterator, Mapping, Sequence
from string import Formatter
from typing import Any

from rlent.errors import ConfigError

KEY = "data.prompt"
LATEX_COMMAND = re.compile(r"\\[A-Za-z]+$")


def template_columns(template: str, columns: list[str]) -> list[str]:
    """The columns that a template inserts, each once.

    Raises ConfigError for a template that cannot be read, inserts nothing or an unknown column,
    or has single braces after a LaTeX command, where ``\\boxed{answer}`` would give the reference
    answer away.
    """
    try:
        fields = dict.fromkeys(_fields(template))
    except ValueError as error:
        raise ConfigError(
            f"the template cannot be read: {error}",
            key=KEY,
            given=template,
            remedy="write {{ and }} for literal braces",
        ) from error
    if not fields:
        raise ConfigError(
            "the template inserts no column, every prompt would be the same",
            key=KEY,
            expected=f"one or more of {', '.join('{' + name + '}' for name in columns)}",
            given=template,
        )
    for name in fields:
        if name not in columns:
            raise ConfigError(
                f"the template inserts '{{{name}}}', which is no column of the data",
                key=KEY,
                expected=", ".join(columns),
                given=name,
                choices=columns,
                remedy="write {{ and }} for literal braces" if not name else None,
            )
    return list(fields)


def render(template: str, values: Mapping[str, Any]) -> str:
    """The template with the values of one row, whose names may have dots.

    Raises ConfigError when a value is missing, is a list of chat messages, or does not fit its
    format.
    """
    for name, value in values.items():
        if value is None or (isinstance(value, list) and value and isinstance(value[0], dict)):
            found = "no value" if value is None else "chat messages"
            raise ConfigError(
                f"{found} in the column '{name}'",
                key=KEY,
                expected="a text, a number or a list of them",
            )
    try:
        return _WHOLE_NAMES.vformat(template, (), values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the template does not fit: {error}", key=KEY, given=template) from error


class _WholeNames(Formatter):
    """``str.format`` that looks ``a.b`` up as one name."""

    def get_field(
        self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Any, str]:
        return kwargs[field_name], field_name


_WHOLE_NAMES = _WholeNames()


def _fields(template: str) -> Iterator[str]:
    for literal, name, spec, _ in Formatter().parse(template):
        if name is None:
            continue
        if command := LATEX_COMMAND.search(literal):
            raise ValueError(f"'{command[0]}{{{name}}}' has single braces")
        yield name
        yield from _fields(spec or "")
