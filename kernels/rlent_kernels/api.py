"""The public operation: checks, then one implementation, chosen by name."""

from torch import Tensor

from rlent_kernels import reference, tiled
from rlent_kernels.transform import LogitTransform
from rlent_kernels.types import LinearHead, TokenStats
from rlent_kernels.validation import check_choice, check_numbers, check_tensors

_IMPLEMENTATIONS = ("auto", "torch", "reference")


def token_stats(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    impl: str = "auto",
    tile: tuple[int, int] | None = None,
) -> TokenStats:
    """Log-probability of the targets and entropy, in nats, of a linear head at every row.

    With u = logit_scale * (hidden weight^T + bias), capped to softcap * tanh(u / softcap) where a
    softcap is given, and z = u / temperature:

        log_probs = z_target - logsumexp z
        entropy   = logsumexp z - sum_j softmax(z)_j z_j

    Rows whose target is ``IGNORE_INDEX`` (-100) are not computed: their results are 0, they send
    no gradient, and NaN or infinity in them reaches nothing. A logit of -inf (a banned token, by
    a bias of -inf) adds 0 to the entropy. Differentiable in hidden, weight and bias, once with
    impl="torch"; gradients that are not needed are not computed.

    Numbers: logits, statistics and gradient sums are float32, or float64 when hidden is, and
    gradients are returned in the dtype of their input. impl="torch" multiplies bfloat16 operands
    when hidden and weight both are bfloat16 or autocast to bfloat16 is on, as a linear layer
    would, and float32 operands otherwise; no logit is ever rounded to bfloat16. In its backward
    the gradient of the logits is an operand too. Float32 products on a GPU use TF32 if torch is
    told to.

    Args:
        hidden: ``[*n d]``, float32, float64, bfloat16 or float16.
        weight: ``[v d]``, any of these dtypes; float64 only with a float64 hidden.
        targets: ``[*n]`` int64, each in ``[0, v)`` or -100. A GPU is synchronised once to check
            them, and once each in forward and backward to pick the rows to compute.
        bias: ``[v]``, or None.
        temperature: divides the logits.
        logit_scale: multiplies the raw logits, such as Cohere's ``logit_scale``.
        softcap: bound of the scaled logits, such as Gemma 2's ``final_logit_softcapping``.
        impl: ``"torch"`` works in tiles and never holds ``n * v`` logits; rows without incoming
            gradient cost nothing in its backward. ``"reference"`` holds all logits, in float32
            or float64 whatever autocast says. ``"auto"`` is ``"torch"``.
        tile: (rows, vocabulary) of a tile of ``"torch"``; None picks one for the device.

    Raises:
        ValueError: a shape, dtype, device, number, name or target is not as described.
        RuntimeError: in backward of ``"torch"``, when second derivatives are asked for.
    """
    check_choice(impl, tile, _IMPLEMENTATIONS)
    check_numbers(temperature, logit_scale, softcap)
    check_tensors(hidden, weight, targets, bias)
    head = LinearHead(
        hidden=hidden.reshape(targets.numel(), hidden.shape[-1]),
        weight=weight,
        bias=bias,
        targets=targets.reshape(-1),
        transform=LogitTransform(temperature=temperature, logit_scale=logit_scale, softcap=softcap),
    )
    if impl == "reference":
        log_probs, entropy = reference.token_stats(head)
    else:
        log_probs, entropy = tiled.token_stats(head, tile)
    return TokenStats(
        log_probs=log_probs.reshape(targets.shape), entropy=entropy.reshape(targets.shape)
    )
