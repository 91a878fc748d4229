"""Data blocks of the page: base64 of gzip, which the browser unpacks when they are asked for.

Base64 has no ``<``, so no text of a run can end the element that holds it.
"""

import base64
import gzip
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy import ndarray

_ALIGNED = 8
_TYPES = {"|u1": "u1", "<u2": "u2", "<u4": "u4", "<i4": "i4", "<f4": "f4", "<f8": "f8"}
"""numpy's name of a type, and the page's."""


def json_block(value: Any) -> str:
    """A block of JSON. NaN and infinity, which JSON does not know, become null."""
    return _packed(json.dumps(_plain(value), allow_nan=False, separators=(",", ":")).encode())


def column_block(columns: Mapping[str, ndarray]) -> str:
    """A block of arrays: the length of a directory, the directory, and the arrays, each from a multiple of 8 bytes."""
    directory: list[dict[str, Any]] = []
    body = bytearray()
    for name, values in columns.items():
        body += bytes(-len(body) % _ALIGNED)
        entry = {
            "name": name,
            "type": _TYPES[values.dtype.str],
            "at": len(body),
            "size": len(values),
        }
        directory.append(entry)
        body += values.tobytes()
    head = json.dumps(directory).encode()
    head += b" " * (-(len(head) + 4) % _ALIGNED)
    return _packed(len(head).to_bytes(4, "little") + head + bytes(body))


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode("ascii")


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value
