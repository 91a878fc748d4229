"""Checks of what a caller passes. Every message names argument, expectation and value."""

import math
from collections.abc import Sequence
from difflib import get_close_matches

import torch
from torch import Tensor

from rlent_kernels.types import FURTHER, IGNORE_INDEX, Wanted

_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def check_tensors(hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None) -> None:
    """Dtypes, shapes and devices of the four tensors, and the range of the targets."""
    _check_dtypes(hidden, weight, targets, bias)
    _check_shapes(hidden, weight, targets, bias)
    for name, tensor in (("weight", weight), ("targets", targets), ("bias", bias)):
        if tensor is not None and tensor.device != hidden.device:
            _fail(name, f"on {hidden.device}, the device of hidden", str(tensor.device))
    _check_range(targets, weight.shape[0])


def check_numbers(temperature: float, logit_scale: float, softcap: float | None) -> None:
    """The three numbers are finite and positive."""
    numbers = {"temperature": temperature, "logit_scale": logit_scale, "softcap": softcap}
    for name, number in numbers.items():
        if number is not None and not (math.isfinite(number) and number > 0):
            _fail(name, "a finite number > 0", repr(number))


def check_choice(
    impl: str,
    names: Sequence[str],
    *,
    tile: tuple[int, int] | None,
    keep_logits: bool | None = None,
) -> None:
    """``impl`` is a known name, and the choices within it fit it."""
    if impl not in names:
        nearest = get_close_matches(impl, names, n=1, cutoff=0.0)[0]
        valid = ", ".join(map(repr, names))
        _fail("impl", f"one of {valid}", f"{impl!r}; the nearest name is {nearest!r}")
    for name, choice in (("tile", tile), ("keep_logits", keep_logits)):
        if impl == "reference" and choice is not None:
            _fail(name, "None with impl='reference', which holds all logits", repr(choice))
    if tile is not None and (len(tile) != 2 or min(tile) < 1):
        _fail("tile", "two integers >= 1, (rows, vocabulary)", repr(tile))


def check_wanted(wanted: Wanted, vocabulary: int) -> None:
    """Names of further statistics are known, and the numbers of the others in range."""
    for name in wanted.names:
        if name not in FURTHER:
            numbers = {
                "top_log_probs": "top_k",
                "top_ids": "top_k",
                "nucleus_entropy": "top_p",
                "kept_log_probs": "min_p",
            }
            if name in numbers:
                _fail("also", f"{numbers[name]}=... in place of {name!r}", repr(name))
            nearest = get_close_matches(name, FURTHER, n=1, cutoff=0.0)[0]
            valid = ", ".join(map(repr, FURTHER))
            _fail("also", f"names out of {valid}", f"{name!r}; the nearest name is {nearest!r}")
    if wanted.top_k is not None and not 1 <= wanted.top_k <= vocabulary:
        _fail("top_k", f"an integer in [1, {vocabulary}], the vocabulary", repr(wanted.top_k))
    for name in ("top_p", "min_p"):
        number = getattr(wanted, name)
        if number is not None and not 0 < number <= 1:
            _fail(name, "a number in (0, 1]", repr(number))


def _check_dtypes(hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None) -> None:
    floats = ", ".join(map(str, _FLOATS))
    for name, tensor in (("hidden", hidden), ("weight", weight), ("bias", bias)):
        if tensor is None:
            continue
        if tensor.dtype not in _FLOATS:
            _fail(name, f"dtype one of {floats}", str(tensor.dtype))
        if tensor.dtype == torch.float64 and hidden.dtype != torch.float64:
            _fail(name, f"less than float64 with hidden in {hidden.dtype}", str(tensor.dtype))
    if targets.dtype != torch.int64:
        _fail("targets", "dtype torch.int64", str(targets.dtype))


def _check_shapes(hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None) -> None:
    if hidden.ndim < 1:
        _fail("hidden", "shape [*n d]", _shape(hidden))
    width = hidden.shape[-1]
    if weight.ndim != 2 or weight.shape[1] != width or weight.shape[0] < 1:
        _fail("weight", f"shape [v {width}] with v >= 1 and d = {width} of hidden", _shape(weight))
    if targets.shape != hidden.shape[:-1]:
        expected = _format(hidden.shape[:-1])
        _fail("targets", f"shape {expected}, that of hidden without its last axis", _shape(targets))
    if bias is not None and bias.shape != weight.shape[:1]:
        _fail("bias", f"shape {_format(weight.shape[:1])}, one per row of weight", _shape(bias))


def _check_range(targets: Tensor, vocabulary: int) -> None:
    if not targets.numel():
        return
    lowest, highest = torch.stack(targets.aminmax()).tolist()
    if lowest >= 0 and highest < vocabulary:
        return
    wrong = ((targets < 0) | (targets >= vocabulary)) & (targets != IGNORE_INDEX)
    if wrong.any():
        place = tuple(wrong.nonzero()[0].tolist())
        _fail(
            "targets",
            f"values in [0, {vocabulary}) or IGNORE_INDEX ({IGNORE_INDEX})",
            f"{int(targets[place])} at index {list(place)}",
        )


def _shape(tensor: Tensor) -> str:
    return f"shape {_format(tensor.shape)}"


def _format(shape: Sequence[int]) -> str:
    return f"[{' '.join(map(str, shape))}]"


def _fail(name: str, expected: str, given: str) -> None:
    raise ValueError(f"token_stats: {name}: expected {expected}; got {given}")
