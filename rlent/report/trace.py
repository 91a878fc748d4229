"""The completions of a run as flat arrays, which every summary of its tokens is computed from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from rlent.tracking import read_tables
from rlent.tracking.rollouts import PART


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """``n`` completions and their ``m`` tokens in one line; a token's text is ``vocabulary[text]``."""

    step: Int[ndarray, " n"]
    group: Int[ndarray, " n"]
    prompt: Int[ndarray, " n"]
    prompts: tuple[str, ...]
    """The distinct prompts; ``prompt`` numbers them."""
    reward: Float[ndarray, " n"]
    parts: Mapping[str, Float[ndarray, " n"]]
    truncated: Bool[ndarray, " n"]
    length: Int[ndarray, " n"]
    text: Int[ndarray, " m"]
    vocabulary: tuple[str, ...]
    logp: Float[ndarray, " m"]
    entropy: Float[ndarray, " m"]
    """Nats."""
    selected: Bool[ndarray, " m"]
    advantage: Float[ndarray, " m"]
    weight: Float[ndarray, " m"]
    clipped: Bool[ndarray, " m"] | None
    """None where the run did not record it."""
    preserved: Bool[ndarray, " m"] | None
    entropy_effect: Float[ndarray, " m"] | None
    """First-order change of the entropy (nats per unit of step size), which replays and inspections know."""
    start: Int[ndarray, " n"] = field(init=False)
    """Place of each completion's first token."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", np.cumsum(self.length) - self.length)

    def per_token(self, values: ndarray) -> ndarray:
        """A value of every completion, repeated for each of its tokens."""
        return np.repeat(values, self.length)

    def position(self) -> Int[ndarray, " m"]:
        """Place of every token in its completion, from 0."""
        return np.arange(len(self.text)) - self.per_token(self.start)

    def completions_at(self, numbers: Int[ndarray, " k"]) -> Int[ndarray, " j"]:
        """Places of the tokens of some completions, in the order of ``numbers``."""
        lengths = self.length[numbers]
        first = np.cumsum(lengths) - lengths
        return np.arange(lengths.sum()) + np.repeat(self.start[numbers] - first, lengths)


def read_trace(folder: Path) -> Trace | None:
    """The rollouts of a run; None where there are none."""
    tables = list(read_tables(folder))
    if not tables:
        return None
    return trace_of(pa.concat_tables(tables, promote_options="default"))


def trace_of(table: pa.Table) -> Trace:
    """The arrays of rows as ``rlent.tracking.rollouts`` writes them."""
    text, vocabulary = _numbered(_tokens(table, "token"))
    prompt, prompts = _numbered(_whole(table["prompt"]))
    return Trace(
        step=_numbers(table["step"]),
        group=_numbers(table["group"]),
        prompt=prompt,
        prompts=prompts,
        reward=_numbers(table["reward"]).astype(np.float64),
        parts={
            name.removeprefix(PART): _numbers(table[name]).astype(np.float64)
            for name in table.column_names
            if name.startswith(PART)
        },
        truncated=_numbers(table["truncated"]).astype(bool),
        length=_numbers(_whole(table["token"]).value_lengths()).astype(np.int64),
        text=text,
        vocabulary=vocabulary,
        logp=_numbers(_tokens(table, "logp")).astype(np.float32),
        entropy=_numbers(_tokens(table, "entropy")).astype(np.float32),
        selected=_numbers(_tokens(table, "selected")).astype(bool),
        advantage=_numbers(_tokens(table, "advantage")).astype(np.float32),
        weight=_numbers(_tokens(table, "weight")).astype(np.float32),
        clipped=_recorded(table, "clipped"),
        preserved=_recorded(table, "preserved"),
        entropy_effect=_if_known(table, "entropy_effect"),
    )


def _whole(column: pa.ChunkedArray) -> Any:
    joined = column.combine_chunks()
    return pa.concat_arrays(joined.chunks) if isinstance(joined, pa.ChunkedArray) else joined


def _tokens(table: pa.Table, name: str) -> Any:
    return _whole(table[name]).flatten()


def _numbers(values: Any) -> ndarray:
    return values.to_numpy() if isinstance(values, pa.ChunkedArray) else values.to_numpy(False)


def _numbered(texts: Any) -> tuple[Int[ndarray, " k"], tuple[str, ...]]:
    encoded = texts.dictionary_encode()
    return _numbers(encoded.indices).astype(np.int64), tuple(encoded.dictionary.to_pylist())


def _recorded(table: pa.Table, name: str) -> Bool[ndarray, " m"] | None:
    """A column that older runs lack; a run that was resumed by a newer version has it in part, which is no record."""
    if name not in table.column_names or table[name].null_count:
        return None
    return _numbers(_tokens(table, name)).astype(bool)


def _if_known(table: pa.Table, name: str) -> Float[ndarray, " m"] | None:
    if name not in table.column_names:
        return None
    return _numbers(_tokens(table, name)).astype(np.float32)
