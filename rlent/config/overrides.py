"""``key.path=value`` from the command line, written over a recipe's source."""

import re
from collections.abc import Iterable
from typing import Any

from rlent.config.reader import below, forget, read_yaml
from rlent.config.source import Source
from rlent.config.validate import short_list
from rlent.errors import ConfigError

PLACE = "command line"

_KEY = re.compile(r"[^\s.]+(\.[^\s.]+)*")


def apply_overrides(source: Source, overrides: Iterable[str]) -> Source:
    """The source with each ``key.path=value`` in it, in order; the value is YAML.

    A part of the path is a key, the position of a list entry, or the name of a ``{name: options}``
    entry. Sections that are missing on the way are created.

    Raises:
        ConfigError: not of that form, not YAML, or a path that leads into something without keys.
    """
    for override in overrides:
        source = _apply(source, override)
    return source


def _apply(source: Source, override: str) -> Source:
    key, text = _split(override)
    try:
        value, _ = read_yaml(text, PLACE)
    except ConfigError as error:
        error.where, error.key = PLACE, key
        raise
    mapping, path = _replaced(source.mapping, tuple(key.split(".")), value, "")
    places = dict(source.places)
    forget(places, path)
    places[path] = PLACE
    parent = path
    while parent := parent.rpartition(".")[0]:
        places.setdefault(parent, PLACE)
    return Source(mapping=mapping, places=places)


def _split(override: str) -> tuple[str, str]:
    key, equals, text = override.partition("=")
    if not equals or not _KEY.fullmatch(key):
        raise ConfigError(
            "not an override",
            expected="key.path=value, such as trainer.learning_rate=1e-5",
            given=override,
            where=PLACE,
        )
    if not text.strip():
        raise ConfigError(
            "the override has no value",
            key=key,
            where=PLACE,
            remedy=f"{key}=null for no value, {key}=\"''\" for empty text",
        )
    return key, text


def _replaced(node: Any, path: tuple[str, ...], value: Any, key: str) -> tuple[Any, str]:
    """A copy of ``node`` with ``value`` at ``path``, and the dotted key with names as positions."""
    if not path:
        return value, key
    part, *rest = path
    if isinstance(node, list):
        position = _position(node, part, key)
        inner = rest if part.isdecimal() else path
        entry = node[position]
        if inner and isinstance(entry, str):
            entry = {entry: {}}
        entry, full = _replaced(entry, tuple(inner), value, below(key, position))
        return [*node[:position], entry, *node[position + 1 :]], full
    if node is not None and not isinstance(node, dict):
        raise ConfigError(
            f"cannot set {part!r} inside a single value", key=key, given=node, where=PLACE
        )
    present = node or {}
    entry, full = _replaced(present.get(part), tuple(rest), value, below(key, part))
    return {**present, part: entry}, full


def _position(entries: list[Any], part: str, key: str) -> int:
    names = [_name(entry) for entry in entries]
    found = [index for index, name in enumerate(names) if part in (name, str(index))]
    if len(found) > 1:
        raise ConfigError(
            "several entries have this name",
            key=below(key, part),
            where=PLACE,
            remedy=f"write one of {', '.join(below(key, index) for index in found)}",
        )
    if not found:
        present = [name for name in names if name]
        raise ConfigError(
            "no such entry",
            key=below(key, part),
            expected=short_list(present) or "a list with entries",
            given=part,
            choices=present,
            where=PLACE,
        )
    return found[0]


def _name(entry: Any) -> str | None:
    """Name of a ``{name: options}`` or bare ``name`` entry."""
    if isinstance(entry, dict) and len(entry) == 1:
        return next(iter(entry))
    return entry if isinstance(entry, str) else None
