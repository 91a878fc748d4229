"""A recipe's text as a mapping that still knows where each of its keys was written."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rlent.config.reader import read_yaml
from rlent.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What the user wrote, before any default or check."""

    mapping: Mapping[str, Any]
    """Sections of the recipe as plain values."""
    places: Mapping[str, str]
    """``file:line`` or ``command line`` of every dotted key; ``""`` is the recipe itself."""

    def where(self, key: str) -> str:
        """Place of a dotted key, or of its nearest parent that was written."""
        while key and key not in self.places:
            key = key.rpartition(".")[0]
        return self.places.get(key, "")

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Give every ConfigError raised inside, and not yet placed, the place of its key."""
        try:
            yield
        except ConfigError as error:
            if error.where is None:
                error.where = self.where(error.key or "")
            raise


NOT_WRITTEN = Source(mapping={}, places={})
"""The source of a recipe that was built in Python."""


def parse_source(text: str, file: str) -> Source:
    """Read YAML text whose top level is a mapping; ``file`` is the name that messages use.

    Raises:
        ConfigError: not YAML, empty, or something else than a mapping.
    """
    value, places = read_yaml(text, file)
    if value is None:
        raise ConfigError(
            "the recipe is empty", expected="the sections model, data and rewards", where=places[""]
        )
    if not isinstance(value, dict):
        raise ConfigError(
            "the recipe is not a mapping of sections",
            expected="sections such as `model:` and `data:`",
            where=places[""],
        )
    return Source(mapping=value, places=places)
