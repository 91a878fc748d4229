"""Which numbers the head's matrix products read, and in which they answer.

Rounding a *logit* to bfloat16 moves it by up to 2^-9 of its size, and since logsumexp is convex
the errors do not cancel: log-probability and entropy drift. Rounding *operands* only changes which
model is measured, and operands that are bfloat16 already lose nothing: the product of two bfloat16
numbers is exact in float32. So operands may be bfloat16; results and sums are always float32.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock

import torch
from torch import Tensor

# oneDNN's matmul precision is one setting per process: two threads that save and restore it
# without taking turns could leave it changed for good.
_ONEDNN_TURN = RLock()


@dataclass(frozen=True, kw_only=True, slots=True)
class Precision:
    """Dtypes of the products ``operand x operand -> result``.

    Attributes:
        operand: values of hidden and weight are rounded to it: bfloat16, float32 or float64.
        result: dtype of logits, statistics and gradient sums: float32 or float64.
    """

    operand: torch.dtype
    result: torch.dtype

    def cast(self, values: Tensor) -> Tensor:
        """``values`` rounded to ``operand``, stored in the dtype that products read."""
        return values.to(self.operand).to(self.stored(values))

    def as_operand(self, computed: Tensor) -> Tensor:
        """A computed matrix as products read it; those of a CPU round it themselves."""
        return computed.to(self.stored(computed))

    def stored(self, values: Tensor) -> torch.dtype:
        """The dtype in which products on the device of ``values`` read their operands."""
        return self.operand if self._has_mixed_mm(values) else self.result

    def multiply(
        self,
        left: Tensor,
        right: Tensor,
        out: Tensor,
        *,
        scale: float = 1.0,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Write ``scale * (left @ right + bias)`` into ``out``, for operands that come from ``cast``.

        Scale and bias cost no pass of their own over the product.
        """
        if bias is None:
            return self._addmm(out, left, right, beta=0.0, alpha=scale)
        return self._addmm(out.copy_(bias.expand_as(out)), left, right, beta=scale, alpha=scale)

    def accumulate(self, left: Tensor, right: Tensor, into: Tensor) -> None:
        """``into += left @ right``, summed in ``result``."""
        self._addmm(into, left, right, beta=1.0, alpha=1.0)

    def _addmm(
        self, out: Tensor, left: Tensor, right: Tensor, *, beta: float, alpha: float
    ) -> Tensor:
        mixed = {"out_dtype": self.result} if self._has_mixed_mm(left) else {}
        return torch.addmm(out, left, right, beta=beta, alpha=alpha, out=out, **mixed)

    @contextmanager
    def products(self, device: torch.device) -> Iterator[None]:
        """Context in which products are to be computed: autocast off, bfloat16 units on.

        On CPUs ``torch.addmm`` takes no ``out_dtype``; oneDNN's bfloat16 mode for float32 matrices
        computes the same: bfloat16 operands, float32 sums and results. The mode belongs to the
        process, so float32 products of other threads may be rounded while the context is open.
        """
        with torch.autocast(device.type, enabled=False):
            if device.type == "cpu" and self.operand == torch.bfloat16:
                with _onednn_bfloat16():
                    yield
            else:
                yield

    def _has_mixed_mm(self, values: Tensor) -> bool:
        return values.is_cuda and self.operand == torch.bfloat16


def choose_precision(hidden: Tensor, weight: Tensor) -> Precision:
    """The precision that dtypes and autocast ask for.

    float64 for float64 hidden. Otherwise float32 results from bfloat16 operands where autocast
    to bfloat16 is on, or hidden and weight both are bfloat16, and from float32 operands in every
    other case. float16 is computed in float32: gradients of logits leave its range.
    """
    if hidden.dtype == torch.float64:
        return Precision(operand=torch.float64, result=torch.float64)
    operand = torch.promote_types(hidden.dtype, weight.dtype)
    if torch.is_autocast_enabled(hidden.device.type):
        operand = torch.get_autocast_dtype(hidden.device.type)
    if operand != torch.bfloat16:
        operand = torch.float32
    return Precision(operand=operand, result=torch.float32)


@contextmanager
def _onednn_bfloat16() -> Iterator[None]:
    setting = torch.backends.mkldnn.matmul  # pyright: ignore[reportAttributeAccessIssue]
    with _ONEDNN_TURN:
        before = setting.fp32_precision
        setting.fp32_precision = "bf16"
        try:
            yield
        finally:
            setting.fp32_precision = before
