"""Completions as the page holds them: an index that is read at once, and chunks of tokens that are read on demand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, UInt
from numpy import ndarray

from rlent.report.page.blocks import column_block, json_block
from rlent.report.trace import Trace

CHUNK_TOKENS = 16_384
CHUNK_ROWS = 64

ENTROPY_STEP = 1 / 4096
"""Nats per unit of the 16 bits in which the page holds an entropy; the largest is 16 nats."""
SURPRISE_STEP = 1 / 2048
"""The same of ``-log p``; below ``exp(-32)`` a probability is shown as that."""

SELECTED, CLIPPED, PRESERVED = 1, 2, 4
BAND_SHIFT = 3
"""The two bits above the flags hold the side of the band."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """A run's trace, the numbers of the completions that the page holds, and every token's side of the band."""

    trace: Trace
    rows: Int[ndarray, " k"]
    band: Int[ndarray, " m"] | None


def completion_blocks(shown: Sequence[Shown | None]) -> Iterator[tuple[str, str]]:
    """Name and content of every block; ``shown`` has an entry per run, None where a run has no rollouts."""
    vocabulary = _numbering([run.trace.vocabulary if run else () for run in shown])
    prompts = _numbering([run.trace.prompts if run else () for run in shown])
    parts = list(dict.fromkeys(name for run in shown if run for name in run.trace.parts))
    index: list[dict[str, ndarray]] = []
    chunks = 0
    for number, run in enumerate(shown):
        if run is None:
            continue
        texts = np.asarray([vocabulary[text] for text in run.trace.vocabulary], dtype=np.uint32)
        for rows in chunk_rows(run.trace, run.rows):
            yield f"chunk-{chunks}", column_block(_token_columns(run, rows, texts))
            index.append(_index_columns(run, rows, number, chunks, prompts, parts))
            chunks += 1
    columns = (
        {name: np.concatenate([entry[name] for entry in index]) for name in index[0]}
        if index
        else {}
    )
    yield "index", column_block(columns)
    yield "parts", json_block(parts)
    yield "prompts", json_block(list(prompts))
    yield "vocabulary", json_block(list(vocabulary))


def chunk_rows(trace: Trace, rows: Int[ndarray, " k"]) -> list[Int[ndarray, " j"]]:
    """Neighbours put together until a chunk has ``CHUNK_ROWS`` completions or ``CHUNK_TOKENS`` tokens."""
    chunks: list[list[int]] = []
    tokens = 0
    for row in rows.tolist():
        length = int(trace.length[row])
        if not chunks or len(chunks[-1]) == CHUNK_ROWS or tokens + length > CHUNK_TOKENS:
            chunks.append([])
            tokens = 0
        chunks[-1].append(row)
        tokens += length
    return [np.asarray(chunk) for chunk in chunks]


def _numbering(listed: Sequence[Sequence[str]]) -> dict[str, int]:
    distinct = dict.fromkeys(text for texts in listed for text in texts)
    return {text: number for number, text in enumerate(distinct)}


def _token_columns(
    run: Shown, rows: Int[ndarray, " j"], texts: UInt[ndarray, " v"]
) -> dict[str, ndarray]:
    trace, places = run.trace, run.trace.completions_at(rows)
    return {
        "text": texts[trace.text[places]],
        "entropy": _in_steps(trace.entropy[places], ENTROPY_STEP),
        "surprise": _in_steps(-trace.logp[places], SURPRISE_STEP),
        "advantage": trace.advantage[places],
        "weight": trace.weight[places],
        **({} if trace.entropy_effect is None else {"effect": trace.entropy_effect[places]}),
        "flags": _flags(run, places),
    }


def _in_steps(values: ndarray, step: float) -> UInt[ndarray, " i"]:
    return np.clip(np.rint(values / step), 0, 65535).astype(np.uint16)


def _flags(run: Shown, places: Int[ndarray, " i"]) -> UInt[ndarray, " i"]:
    flags = _bit(run.trace.selected, places, SELECTED)
    flags |= _bit(run.trace.clipped, places, CLIPPED)
    flags |= _bit(run.trace.preserved, places, PRESERVED)
    if run.band is not None:
        flags |= (run.band[places] << BAND_SHIFT).astype(np.uint8)
    return flags


def _bit(
    marked: Bool[ndarray, " m"] | None, places: Int[ndarray, " i"], bit: int
) -> UInt[ndarray, " i"]:
    if marked is None:
        return np.zeros(len(places), dtype=np.uint8)
    return marked[places].astype(np.uint8) * np.uint8(bit)


def _index_columns(
    run: Shown,
    rows: Int[ndarray, " j"],
    number: int,
    chunk: int,
    prompts: dict[str, int],
    parts: Sequence[str],
) -> dict[str, ndarray]:
    trace, lengths = run.trace, run.trace.length[rows]
    entropy = [
        trace.entropy[start : start + size]
        for start, size in zip(trace.start[rows], lengths, strict=True)
    ]
    nothing = np.full(len(trace.length), np.nan)
    return {
        "run": np.full(len(rows), number, dtype=np.uint16),
        "step": trace.step[rows].astype(np.int32),
        "group": trace.group[rows].astype(np.int32),
        "prompt": np.asarray(
            [prompts[trace.prompts[i]] for i in trace.prompt[rows]], dtype=np.uint32
        ),
        "reward": trace.reward[rows],
        "truncated": trace.truncated[rows].astype(np.uint8),
        "length": lengths.astype(np.uint32),
        "entropy": np.asarray(
            [part.mean() if len(part) else 0.0 for part in entropy], dtype=np.float32
        ),
        "chunk": np.full(len(rows), chunk, dtype=np.uint32),
        "first": (np.cumsum(lengths) - lengths).astype(np.uint32),
        **{f"part{i}": trace.parts.get(name, nothing)[rows] for i, name in enumerate(parts)},
    }
