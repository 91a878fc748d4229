"""Letting go of a model that DeepSpeed has wrapped for a while."""

from typing import Any


def release(engine: Any) -> None:
    """Free the weights of an engine's model, which cannot be used again.

    The empty modules stay: stage 3 keeps every one that it has ever put hooks on, in lists and caches of its own.
    """
    for parameter in engine.module.parameters():
        parameter.data = parameter.data.new_empty(0)
        if hasattr(parameter, "ds_tensor"):
            part = parameter.ds_tensor
            part.data = part.data.new_empty(0)
