"""Keys and values of the live sequences, written in place.

transformers' ``DynamicCache`` copies everything it holds at each step. Here the storage of a layer grows by ``_BLOCK``
columns at a time, and a step writes one column and returns a view.

Sequences are aligned on the right: the last token of each is in the last column, so a row of ``n`` tokens is padded on
the left and the model's own masks (full, sliding window, chunked) hold as they are. Rows leave by being overwritten by
the last row, columns by not being in the view any more; neither moves another row. Storage starts as zeros and then
holds old keys and values, never anything that is not finite: a masked value is multiplied by 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

_BLOCK = 256

KeysValues = tuple[Tensor, Tensor]
"""``[h t d]`` each, of one sequence in one layer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prefix:
    """What the model knows after the tokens of one sequence, from which others can go on."""

    states: tuple[KeysValues, ...]
    """Of every layer."""
    logits: Tensor
    """``[v]`` float32, of the next token."""

    @property
    def length(self) -> int:
        return self.states[0][0].shape[1]

    def copy(self) -> "Prefix":
        """The same in memory of its own."""
        states = tuple((keys.clone(), values.clone()) for keys, values in self.states)
        return Prefix(states=states, logits=self.logits.clone())


class BlockLayer(CacheLayerMixin):
    """One layer's storage ``[rows, heads, columns, d]``; in use are rows ``:rows``, columns ``start:end``."""

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        self.rows = self.start = self.end = 0
        self._storage: list[Tensor] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append the new columns; views of all columns in use."""
        if not self._storage:
            self.lazy_initialization(key_states, value_states)
        new = key_states.shape[2]
        if self.end + new > self._storage[0].shape[2]:
            self._move(self.rows, self.end - self.start + new + _BLOCK)
        span = slice(self.end, self.end + new)
        self.end += new
        for storage, states in zip(self._storage, (key_states, value_states), strict=True):
            storage[: self.rows, :, span] = states
        keys, values = (self._in_use(storage) for storage in self._storage)
        return keys, values

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Room for exactly these states: a prefill is not continued."""
        self.rows = key_states.shape[0]
        self._storage = [states.new_zeros(states.shape) for states in (key_states, value_states)]
        self.is_initialized = True

    def get_seq_length(self) -> int:
        return self.end - self.start

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1

    def reserve(self, rows: int, width: int, like: KeysValues) -> None:
        """Room for so many rows and for so many columns up to ``end``."""
        if not self._storage:
            self._storage = [
                states.new_zeros(0, len(states), 0, states.shape[2]) for states in like
            ]
            self.is_initialized = True
        capacity = self._storage[0].shape[0]
        if rows > capacity or width > self.end:
            # Forks come one at a time.
            rows = max(rows, capacity + capacity // 4 if rows > capacity else capacity)
            self._move(rows, width + _BLOCK, end=width)

    def write(self, row: int, count: int, states: KeysValues) -> None:
        for storage, sequence in zip(self._storage, states, strict=True):
            storage[row : row + count, :, self.end - sequence.shape[1] : self.end] = sequence

    def read(self, row: int, length: int) -> KeysValues:
        keys, values = (storage[row, :, self.end - length : self.end] for storage in self._storage)
        return keys, values

    def overwrite(self, row: int, by: int) -> None:
        for storage in self._storage:
            storage[row, :, self.start : self.end] = storage[by, :, self.start : self.end]

    def _move(self, rows: int, columns: int, end: int | None = None) -> None:
        """New storage of this size, with the cells in use in columns ``:end``."""
        width = self.end - self.start
        end = width if end is None else end
        for i, storage in enumerate(self._storage):
            moved = storage.new_zeros(rows, storage.shape[1], columns, storage.shape[3])
            moved[: self.rows, :, end - width : end] = self._in_use(storage)
            self._storage[i] = moved
        self.start, self.end = end - width, end

    def _in_use(self, storage: Tensor) -> Tensor:
        return storage[: self.rows, :, self.start : self.end]


class RolloutCache(Cache):
    """A ``BlockLayer`` per layer of the model; all of them have the same rows and columns in use."""

    layers: list[Any]

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[BlockLayer() for _ in range(layers)])

    @property
    def width(self) -> int:
        return self.layers[0].get_seq_length()

    @property
    def columns_per_layer(self) -> list[int]:
        return [layer.get_seq_length() for layer in self.layers]

    def admit(self, prefixes: Sequence[Prefix]) -> None:
        """Add a row per prefix after the last row."""
        width = max(self.width, *(prefix.length for prefix in prefixes))
        for number, layer in enumerate(self.layers):
            layer.reserve(layer.rows + len(prefixes), width, prefixes[0].states[number])
            for _, equal in groupby(prefixes, key=id):
                group = list(equal)
                layer.write(layer.rows, len(group), group[0].states[number])
                layer.rows += len(group)
        self.narrow(width)

    def narrow(self, width: int) -> None:
        """Use the last ``width`` columns only."""
        for layer in self.layers:
            layer.start = layer.end - width

    def drop(self, row: int) -> None:
        """The last row takes the place of this one."""
        for layer in self.layers:
            layer.rows -= 1
            if row != layer.rows:
                layer.overwrite(row, by=layer.rows)

    def prefix(self, row: int, length: int, logits: Tensor) -> Prefix:
        """The last ``length`` columns of a row: views, which later steps may overwrite."""
        return Prefix(states=tuple(layer.read(row, length) for layer in self.layers), logits=logits)
