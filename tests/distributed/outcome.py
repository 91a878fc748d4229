"""What a trainer of a worker has logged and left, in numbers that two runs can be compared by."""

from typing import Any

import torch
from torch import Tensor


def outcome(trainer: Any) -> dict[str, Any]:
    """What was logged, how it was sharded, and two numbers of every weight; all ranks must call this."""
    parameters = dict(trainer.accelerator.unwrap_model(trainer.model).named_parameters())
    values = {name: whole(parameter) for name, parameter in parameters.items()}
    return {
        "steps": [row for row in trainer.state.log_history if "loss" in row],
        "backend": str(trainer.accelerator.distributed_type),
        "sharding": sharding(trainer),
        "partitioned": partitioned(parameters.values()),
        "weights": {name: along_a_wave(value).item() for name, value in values.items()},
        "norms": {name: value.norm().item() for name, value in values.items()},
    }


def sharding(trainer: Any) -> dict[str, Any]:
    """What DeepSpeed's engine says of itself; nothing without it."""
    if not trainer.is_deepspeed_enabled:
        return {}
    engine = trainer.model_wrapped
    return {
        "zero": engine.zero_optimization_stage(),
        "optimizer offloaded": bool(engine.zero_offload_optimizer()),
        "weights offloaded": bool(engine.zero_offload_param()),
    }


def partitioned(parameters: Any) -> int:
    """How many of them are in parts, one on every rank."""
    return sum(getattr(parameter, "ds_numel", 0) > parameter.numel() for parameter in parameters)


def whole(parameter: Any) -> Tensor:
    """A copy of a weight as one row of float64, put together where it is in parts."""
    if not hasattr(parameter, "ds_id"):
        return parameter.detach().to(torch.float64, copy=True).flatten()
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter]):
        return parameter.detach().to(torch.float64, copy=True).flatten()


def along_a_wave(row: Tensor) -> Tensor:
    """The part of a row along a fixed wave: unlike a sum it changes where two entries change places."""
    return row @ torch.arange(len(row), dtype=row.dtype).cos()
