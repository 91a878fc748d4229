"""``as_released``: the settings of the authors' code, taken together."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def take_released_settings(config: Any, released: Mapping[str, object]) -> None:
    """Set each named field of a dataclass, also of a frozen one, to its released value.

    Raises:
        ValueError: for a field that was given another value, neither its default nor the released one.
    """
    defaults = {field.name: field.default for field in fields(config)}
    for name, value in released.items():
        given = getattr(config, name)
        if given not in (defaults[name], value):
            raise ValueError(
                f"as_released means {name}: {value}, but {name}: {given} is set too; remove one of the two"
            )
        object.__setattr__(config, name, value)
