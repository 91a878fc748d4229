"""What a trainer of a worker has logged and left, in numbers that two runs can be compared by."""

from typing import Any

from torch import Tensor


def outcome(trainer: Any) -> dict[str, Any]:
    """Steps, backend, how many weights are in parts, and the sum of every weight; all ranks must call this."""
    parameters = dict(trainer.accelerator.unwrap_model(trainer.model).named_parameters())
    return {
        "steps": [row for row in trainer.state.log_history if "loss" in row],
        "backend": str(trainer.accelerator.distributed_type),
        "partitioned": partitioned(parameters.values()),
        "weights": {name: whole(parameter).item() for name, parameter in parameters.items()},
    }


def partitioned(parameters: Any) -> int:
    """How many of them are in parts, one on every rank."""
    return sum(getattr(parameter, "ds_numel", 0) > parameter.numel() for parameter in parameters)


def whole(parameter: Any) -> Tensor:
    """The sum of a weight, put together where it is in parts."""
    if not hasattr(parameter, "ds_id"):
        return parameter.detach().double().sum()
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter]):
        return parameter.detach().double().sum()
