"""Which implementation a name stands for on a device."""

import importlib.util
import os
from types import ModuleType

import torch

from rlent_kernels import pointwise_torch

NAMES = ("auto", "torch", "triton", "reference")


def resolve(impl: str, device: torch.device) -> str:
    """The implementation that ``impl`` names; ``"auto"`` is the fastest that is installed.

    Raises:
        ValueError: ``"triton"`` for a device that Triton does not compile for.
        ImportError: ``"triton"`` where it is not installed.
    """
    installed = importlib.util.find_spec("triton") is not None
    if impl == "auto":
        return "triton" if device.type == "cuda" and installed else "torch"
    if impl == "triton":
        if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
            raise ValueError(
                "token_stats: impl: expected 'torch', 'reference' or 'auto' for tensors on "
                f"{device}; got 'triton', which compiles for CUDA devices (the environment variable "
                "TRITON_INTERPRET=1 runs it anywhere, slowly, for tests)"
            )
        if not installed:
            raise ImportError(
                "token_stats: impl='triton' needs the package triton, which comes with torch's CUDA "
                "builds; install it with `pip install triton`, or use impl='torch'"
            )
    return impl


def pointwise(name: str) -> ModuleType:
    """The module with ``absorb`` and ``logit_gradient`` of the implementation ``name``."""
    if name == "triton":
        from rlent_kernels import pointwise_triton

        return pointwise_triton
    return pointwise_torch
