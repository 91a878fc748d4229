"""The data blocks of the page hold what the run recorded."""

import base64
import gzip
import json
import math
import struct
from typing import Any

import numpy as np
import pytest

from rlent.report.page.blocks import column_block, json_block
from rlent.report.page.completions import (
    BAND_SHIFT,
    CHUNK_ROWS,
    CHUNK_TOKENS,
    CLIPPED,
    ENTROPY_STEP,
    PRESERVED,
    SELECTED,
    SURPRISE_STEP,
    Shown,
    chunk_rows,
    completion_blocks,
)
from rlent.report.page.sample import sample_completions
from rlent.report.trace import Trace
from tests.report.runs import completion, trace

FORMATS = {"u1": "B", "u2": "H", "u4": "I", "i4": "i", "f4": "f", "f8": "d"}


def unpacked(block: str) -> bytes:
    return gzip.decompress(base64.b64decode(block))


def columns_of(block: str) -> dict[str, list[Any]]:
    data = unpacked(block)
    (head,) = struct.unpack_from("<I", data)
    columns = {}
    for entry in json.loads(data[4 : 4 + head]):
        place = 4 + head + entry["at"]
        assert place % 8 == 0
        columns[entry["name"]] = list(
            struct.unpack_from(f"<{entry['size']}{FORMATS[entry['type']]}", data, place)
        )
    return columns


def test_columns_survive() -> None:
    columns = {
        "flags": np.array([1, 2, 255], dtype=np.uint8),
        "small": np.array([65535], dtype=np.uint16),
        "empty": np.array([], dtype=np.float32),
        "step": np.array([-1, 7], dtype=np.int32),
        "reward": np.array([0.1, np.inf], dtype=np.float64),
    }
    read = columns_of(column_block(columns))
    assert read == {name: values.tolist() for name, values in columns.items()}


def test_the_same_numbers_give_the_same_file() -> None:
    assert json_block({"a": 1}) == json_block({"a": 1})


def test_json_has_no_word_for_nan() -> None:
    value = {"mean": np.array([1.0, np.nan]), "most": math.inf, "text": "</script>\u2028"}
    block = json_block(value)
    assert json.loads(unpacked(block)) == {
        "mean": [1.0, None],
        "most": None,
        "text": "</script>\u2028",
    }
    assert "<" not in block


def rows_of(count: int, size: int = 3, per_step: int = 8) -> list[dict[str, Any]]:
    return [
        completion(["t"] * size, [0.0] * size, step=row // per_step, group=row % per_step // 4)
        for row in range(count)
    ]


def test_chunks_are_neighbours_within_both_limits() -> None:
    many = trace(rows_of(3 * CHUNK_ROWS - 1, size=1))
    numbers = np.arange(len(many.length))
    chunks = chunk_rows(many, numbers)
    assert [len(chunk) for chunk in chunks] == [CHUNK_ROWS, CHUNK_ROWS, CHUNK_ROWS - 1]
    assert np.concatenate(chunks).tolist() == numbers.tolist()
    third = CHUNK_TOKENS // 3
    long = trace(
        [
            completion(["t"] * size, [0.0] * size)
            for size in (third, third, 2 * third, 2 * CHUNK_TOKENS, 1)
        ]
    )
    assert [chunk.tolist() for chunk in chunk_rows(long, np.arange(5))] == [[0, 1], [2], [3], [4]]


def blocks_of(shown: list[Shown | None]) -> dict[str, str]:
    return dict(completion_blocks(shown))


def test_every_token_can_be_found_again() -> None:
    first = trace(
        [
            completion(["x", "y"], [0.25, 1.5], step=2, reward=1.0, selected=[True, False]),
            completion(
                ["z"], [20.0], step=3, group=1, logp=[-40.0], weight=[0.5], advantage=[-2.0]
            ),
        ]
    )
    row = completion(
        ["y", "w"], [0.0, 0.5], clipped=[True, True], preserved=[False, True], prompt="other"
    )
    row["reward/extra"] = 3.0
    second = trace([row])
    band = np.array([2, 3])
    blocks = blocks_of(
        [
            Shown(trace=first, rows=np.array([0, 1]), band=None),
            None,
            Shown(trace=second, rows=np.array([0]), band=band),
        ]
    )
    index = columns_of(blocks["index"])
    vocabulary = json.loads(unpacked(blocks["vocabulary"]))
    prompts = json.loads(unpacked(blocks["prompts"]))
    assert json.loads(unpacked(blocks["parts"])) == ["right", "extra"]
    assert index["run"] == [0, 0, 2]
    assert index["step"] == [2, 3, 0]
    assert index["reward"] == [1.0, 0.0, 0.0]
    assert index["part0"] == [1.0, 0.0, 0.0]
    assert [math.isnan(value) for value in index["part1"]] == [True, True, False]
    assert [prompts[i] for i in index["prompt"]] == ["1 + 1 =", "1 + 1 =", "other"]
    assert index["entropy"] == pytest.approx([0.875, 20.0, 0.25])
    texts, entropies, flags = [], [], []
    for i, length in enumerate(index["length"]):
        chunk = columns_of(blocks[f"chunk-{index['chunk'][i]}"])
        cut = slice(index["first"][i], index["first"][i] + length)
        texts.append([vocabulary[text] for text in chunk["text"][cut]])
        entropies += [value * ENTROPY_STEP for value in chunk["entropy"][cut]]
        flags += chunk["flags"][cut]
        if i == 1:
            assert chunk["surprise"][cut][0] * SURPRISE_STEP == pytest.approx(32, abs=1e-3)
            assert (chunk["weight"][cut], chunk["advantage"][cut]) == ([0.5], [-2.0])
    assert texts == [["x", "y"], ["z"], ["y", "w"]]
    assert entropies == pytest.approx([0.25, 1.5, 16.0, 0.0, 0.5], abs=1e-3)
    assert flags == [
        SELECTED,
        0,
        SELECTED,
        SELECTED | CLIPPED | 2 << BAND_SHIFT,
        SELECTED | CLIPPED | PRESERVED | 3 << BAND_SHIFT,
    ]


def test_the_change_of_entropy_is_there_where_it_is_known() -> None:
    known = trace([completion(["x", "y"], [0.2, 0.4], entropy_effect=[-0.5, 0.25])])
    unknown = trace([completion(["z"], [0.1])])
    blocks = blocks_of([Shown(trace=t, rows=np.array([0]), band=None) for t in (known, unknown)])
    assert columns_of(blocks["chunk-0"])["effect"] == [-0.5, 0.25]
    assert "effect" not in columns_of(blocks["chunk-1"])


def test_a_page_without_completions_has_an_empty_index() -> None:
    assert columns_of(blocks_of([None])["index"]) == {}


def sampled(read: Trace, most: int, **limits: int) -> list[int]:
    return sample_completions(read, most, **limits).tolist()


def test_a_run_that_fits_is_kept_whole() -> None:
    assert sampled(trace(rows_of(32)), 32) == list(range(32))


def test_a_sample_is_whole_groups_from_first_to_last() -> None:
    read = trace(rows_of(400))
    rows = sampled(read, 100)
    assert len(rows) == 100
    groups = {row // 4 for row in rows}
    assert rows == [row for row in range(400) if row // 4 in groups]
    assert {0, 99} <= groups
    gaps = np.diff(sorted(groups))
    assert gaps.max() <= 2 * gaps.min()


def test_a_sample_keeps_to_the_tokens_it_may_have() -> None:
    read = trace(rows_of(400, size=10))
    rows = sampled(read, 400, most_tokens=1000)
    assert read.length[rows].sum() <= 1000
    assert len(rows) >= 80
    assert len(sampled(read, 400, most_tokens=1)) == 4
    assert len(sampled(read, 1)) == 1
