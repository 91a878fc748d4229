"""Lists of ``{name: options}``, in which each name stands for a class of a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlent import losses
from rlent.config.reader import below
from rlent.config.validate import parse_dataclass, short_list
from rlent.errors import ConfigError
from rlent.interventions import TABLE, Intervention
from rlent.losses import Loss

_FORM = "a name or {name: {options}}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One entry of such a list, its name known to be in the table."""

    key: str
    """Dotted key of the options, such as ``interventions.0.forking_tokens``."""
    name: str
    options: Mapping[str, Any]


def parse_entry(entry: object, table: Mapping[str, type], key: str) -> Entry:
    """Read ``name``, ``{name: options}``, or ``{name: null}`` at the dotted ``key``.

    Raises:
        ConfigError: another form, or a name that the table does not have.
    """
    if isinstance(entry, str):
        entry = {entry: None}
    if not isinstance(entry, Mapping):
        raise ConfigError("wrong value", key=key, expected=_FORM, given=entry)
    if len(entry) != 1:
        raise ConfigError(
            f"an entry has one name, this one has {len(entry)} keys",
            key=key,
            expected=_FORM,
            given=", ".join(map(str, entry)) or None,
            remedy="indent the options below the name, and start every entry with a dash",
        )
    ((name, options),) = entry.items()
    inner = below(key, name)
    if name not in table:
        raise ConfigError(
            "unknown name", key=inner, expected=short_list(table), given=name, choices=table
        )
    if not isinstance(options, Mapping | None):
        raise ConfigError("wrong value", key=inner, expected="a mapping of options", given=options)
    return Entry(key=inner, name=name, options={} if options is None else dict(options))


def check_list(entries: object, key: str) -> list[Any] | tuple[Any, ...]:
    """``entries`` when it is a list, else a ConfigError."""
    if not isinstance(entries, list | tuple):
        raise ConfigError(
            "wrong value", key=key, expected="a list of names or {name: {options}}", given=entries
        )
    return entries


def parse_interventions(entries: object) -> tuple[Intervention, ...]:
    """Interventions from a list of config objects, ``{name: options}`` and bare names, in order.

    Raises:
        ConfigError: with a key such as ``interventions.0.forking_tokens.fraction``.
    """
    return tuple(
        entry if isinstance(entry, Intervention) else _intervention(entry, position)
        for position, entry in enumerate(check_list(entries, "interventions"))
    )


def _intervention(entry: object, position: int) -> Intervention:
    found = parse_entry(entry, TABLE, f"interventions.{position}")
    return parse_dataclass(TABLE[found.name], found.options, found.key)


def parse_loss(entry: object) -> Loss:
    """A loss from a config object, ``{name: options}`` or a bare name.

    Raises:
        ConfigError: with a key such as ``loss.tdpo.beta``.
    """
    if isinstance(entry, Loss):
        return entry
    found = parse_entry(entry, losses.TABLE, "loss")
    return parse_dataclass(losses.TABLE[found.name], found.options, found.key)
