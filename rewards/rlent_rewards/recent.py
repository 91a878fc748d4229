"""A memory of what was used most recently."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any


class Recent:
    """A mapping that forgets what was not used for longest.

    Any thread may use it. It has no lock, which a forked process could inherit locked: each of its
    steps on the mapping is one of the interpreter's.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[Hashable, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> Any:
        """The value kept for the key, or None."""
        value = self._entries.get(key)
        if value is not None:
            self.put(key, value)
        return value

    def put(self, key: Hashable, value: Any) -> None:
        """Keep a value, which is not None."""
        self._entries.pop(key, None)
        self._entries[key] = value
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)
