"""Operators of a decode step."""

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from scripts.scaling_model.shapes import HARDWARE, Shape
from scripts.scaling_model.small_models import SMALL_SHAPES, Comparison, small_model


def check_operators() -> Iterator[Comparison]:
    """Operators that make a tensor, per layer of a decode step: half the difference of depths 2 and 4."""
    for shape in SMALL_SHAPES[1:]:
        shallow, deep = (operators_of(replace(shape, layers=layers)) for layers in (2, 4))
        predicted = HARDWARE.expert_operators if shape.experts else HARDWARE.operators
        yield Comparison(
            what=f"operators of a layer in a decode step, {shape.name}",
            predicted=predicted,
            measured=(deep - shallow) / 2,
        )


def operators_of(shape: Shape) -> int:
    """Operators of the last decode step of one completion that give new storage or write into an old one."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from rlent.rollout import RolloutEngine, Sampling

    counts: list[int] = []

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            view = func.is_view or func.name() == "aten::_unsafe_view"
            counts[-1] += not view
            return func(*args, **(kwargs or {}))

    model = small_model(shape).to(torch.bfloat16)
    plain = model.forward

    @functools.wraps(plain)
    def forward(*args: Any, **kwargs: Any) -> Any:
        counts.append(0)
        with Counting():
            return plain(*args, **kwargs)

    model.forward = forward
    RolloutEngine(model=model, sampling=Sampling(max_new_tokens=3)).generate([range(5, 9)], seed=0)
    return counts[-1]
