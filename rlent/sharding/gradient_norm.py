"""The gradient norm of DeepSpeed's stage 0 in float32, where DeepSpeed hands the step to a plain optimiser."""

from typing import Any

import torch


def guard_plain_step(engine: Any) -> None:
    """Make an engine with a plain optimiser do as DeepSpeed's own do: tell the norm, and leave out a step without one.

    The norm is that of the gradient before it is clipped; where it is NaN or infinite the gradient is dropped.
    """
    plain_step = engine._take_model_step
    if hasattr(engine.optimizer, "_global_grad_norm") or plain_step.__name__ == "guarded_step":
        return

    def guarded_step(lr_kwargs: Any) -> None:
        gradients = [
            parameter.grad for parameter in engine.module.parameters() if parameter.grad is not None
        ]
        engine._global_grad_norm = torch.nn.utils.get_total_norm(gradients)
        if engine._global_grad_norm.isfinite():
            plain_step(lr_kwargs)
        else:
            # What DeepSpeed counts of a step that its own optimisers leave out.
            engine.zero_grad()
            engine._step_applied = False
            engine.skipped_steps += 1
            engine.global_steps += 1

    engine._take_model_step = guarded_step
