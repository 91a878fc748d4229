"""From what a caller passes to the checked problem that an implementation computes."""

from torch import Tensor

from rlent_kernels.transform import LogitTransform
from rlent_kernels.types import LinearHead
from rlent_kernels.validation import check_numbers, check_tensors


def checked_head(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None, **transform: float | None
) -> LinearHead:
    """The head with its leading dimensions flattened; ``transform`` has the fields of ``LogitTransform``.

    Raises:
        ValueError: a shape, dtype, device, target or number is not as ``token_stats`` describes it.
    """
    check_numbers(**transform)  # pyright: ignore[reportArgumentType]
    check_tensors(hidden, weight, targets, bias)
    return LinearHead(
        hidden=hidden.reshape(targets.numel(), hidden.shape[-1]),
        weight=weight,
        bias=bias,
        targets=targets.reshape(-1),
        transform=LogitTransform(**transform),  # pyright: ignore[reportArgumentType]
    )
