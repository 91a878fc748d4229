"""The public operation: checks, then one implementation, chosen by name."""

from collections.abc import Collection

from torch import Tensor

from rlent_kernels import reference, tiled, whole
from rlent_kernels.implementations import NAMES, pointwise, resolve
from rlent_kernels.plan import make_plan
from rlent_kernels.problem import checked_head
from rlent_kernels.sweep import Engine
from rlent_kernels.types import TokenStats, Wanted
from rlent_kernels.validation import check_choice, check_wanted


def token_stats(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    also: Collection[str] = (),
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    impl: str = "auto",
    tile: tuple[int, int] | None = None,
    keep_logits: bool | None = None,
) -> TokenStats:
    """Log-probability of the targets and entropy, in nats, of a linear head at every row.

    With u = logit_scale * (hidden weight^T + bias), capped to softcap * tanh(u / softcap) where a
    softcap is given, and z = u / temperature:

        log_probs = z_target - logsumexp z
        entropy   = logsumexp z - sum_j softmax(z)_j z_j

    Rows whose target is ``IGNORE_INDEX`` (-100) are not computed: their results are 0, they send
    no gradient, and NaN or infinity in them reaches nothing. A logit of -inf (a banned token, by
    a bias of -inf) adds 0 to the entropy. Differentiable in hidden, weight and bias, once, unless
    impl="reference"; gradients that are not needed are not computed, and rows without incoming
    gradient cost nothing in backward.

    Numbers: logits, statistics and gradient sums are float32, or float64 when hidden is, and
    gradients are returned in the dtype of their input. But for impl="reference", operands of
    products are bfloat16 when hidden and weight both are bfloat16 or autocast to bfloat16 is on,
    as in a linear layer, and float32 otherwise; no logit is ever rounded to bfloat16. In backward
    the gradient of the logits is an operand too. Float32 products on a GPU use TF32 if torch is
    told to.

    Memory beyond inputs, outputs and gradients: three tiles of logits, a copy of the rows that are
    computed, and the logits themselves where ``keep_logits`` and a gradient is needed.
    ``top_k``, ``top_p`` and ``min_p`` take a second pass over 64 MiB of logits at a time.

    Args:
        hidden: ``[*n d]``, float32, float64, bfloat16 or float16.
        weight: ``[v d]``, any of these dtypes; float64 only with a float64 hidden.
        targets: ``[*n]`` int64, each in ``[0, v)`` or -100. A GPU is synchronised once to check
            them, and once each in forward and backward to pick the rows to compute.
        bias: ``[v]``, or None.
        temperature: divides the logits.
        logit_scale: multiplies the raw logits, such as Cohere's ``logit_scale``.
        softcap: bound of the scaled logits, such as Gemma 2's ``final_logit_softcapping``.
        also: names of further statistics, out of "logsumexp", "varentropy", "log_sum_sq_probs",
            "mean_logits", "entropy_change", "argmax", "is_top1"; see ``TokenStats``.
        top_k: fill ``top_log_probs`` and ``top_ids`` with that many tokens.
        top_p: fill ``nucleus_entropy``, for the nucleus of that mass.
        min_p: fill ``kept_log_probs``, for the tokens of that share of the largest probability.
        impl: ``"torch"`` works in tiles of torch operators, on any device, or without cutting where one
            tile holds all logits. ``"triton"`` is the
            same with what is done to each logit in one kernel, on CUDA devices. ``"reference"``
            holds all logits, in float32 or float64 whatever autocast says. ``"auto"`` is
            ``"triton"`` on CUDA devices where Triton is installed, and ``"torch"`` elsewhere.
        tile: (rows, vocabulary) of a tile; None picks one that stays in the level-2 cache.
        keep_logits: whether forward keeps the logits for backward, which then computes one product
            less; None keeps them up to 64 MiB.

    Raises:
        ValueError: a shape, dtype, device, number, name or target is not as described.
        ImportError: impl="triton" where Triton is not installed.
        RuntimeError: in backward, when second derivatives are asked for; impl="reference" has them.
    """
    check_choice(impl, NAMES, tile=tile, keep_logits=keep_logits)
    head = checked_head(
        hidden,
        weight,
        targets,
        bias,
        temperature=temperature,
        logit_scale=logit_scale,
        softcap=softcap,
    )
    wanted = Wanted(names=tuple(dict.fromkeys(also)), top_k=top_k, top_p=top_p, min_p=min_p)
    check_wanted(wanted, weight.shape[0])
    implementation = resolve(impl, hidden.device)
    if implementation == "reference":
        stats = reference.token_stats(head, wanted)
    else:
        plan = make_plan(head, tile, keep_logits)
        if implementation == "torch" and not wanted.outputs and plan.takes_whole(head):
            stats = whole.token_stats(head, plan)
        else:
            engine = Engine(plan=plan, pointwise=pointwise(implementation))
            stats = tiled.token_stats(head, wanted, engine)
    shape = targets.shape
    return TokenStats(
        **{name: values.reshape((*shape, *values.shape[1:])) for name, values in stats.items()}
    )
