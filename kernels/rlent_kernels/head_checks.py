"""Checks of operations that compare several linear heads over one vocabulary."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def check_numbers(
    operation: str,
    temperature: float,
    logit_scale: float,
    softcap: float | None,
    tile: int | None,
) -> None:
    """Raise ValueError unless the numbers of a logit transform and a tile are such."""
    numbers = {"temperature": temperature, "logit_scale": logit_scale, "softcap": softcap}
    for name, number in numbers.items():
        valid = number is None or (math.isfinite(number) and number > 0)
        require(operation, valid, name, "a finite number > 0", repr(number))
    require(operation, tile is None or tile >= 1, "tile", "an integer >= 1, rows", repr(tile))


def check_heads(
    operation: str, given: dict[str, Tensor | None], rows: Tensor, prefixes: Sequence[str]
) -> None:
    """Raise ValueError unless all heads fit to the rows and to each other.

    Args:
        given: ``hidden``, ``weight`` and ``bias``, and the same names behind each of the prefixes.
        rows: ``[*n]`` bool.
    """
    tensors = {name: tensor for name, tensor in given.items() if tensor is not None}
    _check_dtypes(operation, tensors, rows, prefixes)
    for prefix in ("", *prefixes):
        _check_shapes(operation, tensors, rows, prefix)
    device = tensors["hidden"].device
    for name, tensor in {**tensors, "rows": rows}.items():
        expected = f"on {device}, the device of hidden"
        require(operation, tensor.device == device, name, expected, str(tensor.device))


def _check_dtypes(
    operation: str, tensors: dict[str, Tensor], rows: Tensor, prefixes: Sequence[str]
) -> None:
    floats = ", ".join(map(str, _FLOATS))
    hidden = ["hidden", *(f"{prefix}hidden" for prefix in prefixes)]
    double = all(tensors[name].dtype == torch.float64 for name in hidden)
    both = " and ".join(hidden) + (" are not both" if len(hidden) == 2 else " are not all")
    for name, tensor in tensors.items():
        dtype = tensor.dtype
        require(operation, dtype in _FLOATS, name, f"dtype one of {floats}", str(dtype))
        expected = f"less than float64 where {both} float64"
        require(operation, double or dtype != torch.float64, name, expected, str(dtype))
    require(operation, rows.dtype == torch.bool, "rows", "dtype torch.bool", str(rows.dtype))


def _check_shapes(operation: str, tensors: dict[str, Tensor], rows: Tensor, prefix: str) -> None:
    """Shapes of one head; the vocabulary is that of ``weight`` for both."""
    names = [f"{prefix}{name}" for name in ("hidden", "weight", "bias")]
    hidden, weight, bias = tensors[names[0]], tensors[names[1]], tensors.get(names[2])
    require(
        operation,
        hidden.ndim > 0 and hidden.shape[:-1] == rows.shape,
        names[0],
        f"shape {[*rows.shape, 'd']}, that of rows with one more axis",
        _shape(hidden),
    )
    width, vocabulary = hidden.shape[-1], tensors["weight"].shape[:1]
    require(
        operation,
        weight.ndim == 2 and weight.shape[0] >= 1 and weight.shape[1] == width,
        names[1],
        f"shape [v, {width}] with v >= 1 and the width {width} of {names[0]}",
        _shape(weight),
    )
    require(
        operation,
        weight.shape[:1] == vocabulary,
        names[1],
        f"shape {[*vocabulary, width]}, one vocabulary for both heads",
        _shape(weight),
    )
    require(
        operation,
        bias is None or bias.shape == vocabulary,
        names[2],
        f"shape {list(vocabulary)}, one per row of {names[1]}",
        "" if bias is None else _shape(bias),
    )


def _shape(tensor: Tensor) -> str:
    return f"shape {list(tensor.shape)}"


def require(operation: str, holds: bool, name: str, expected: str, given: str) -> None:
    if not holds:
        raise ValueError(f"{operation}: {name}: expected {expected}; got {given}")
