"""What the network carries and what a step takes, by formula."""

from scripts.scaling_model.formulas import cache_row, live_that_fit
from scripts.scaling_model.shapes import BFLOAT16, HARDWARE, WORK, Shape, Work


def traffic(parameters: int, stage: int, ranks: int, micro_batches: int, gathers: int = 2) -> float:
    """Bytes that a rank sends in an optimiser step, bfloat16, by ring algorithms.

    Stages 1 and 2 all-reduce (DeepSpeed's buckets for many ranks), stage 2 after every micro-batch. Stage 3 gathers
    the weights ``gathers`` times and scatters the gradients in every micro-batch.
    """
    once = BFLOAT16 * parameters * (ranks - 1) / ranks
    return (
        once
        * {
            0: 2,
            1: 2 + 1,
            2: 2 * micro_batches + 1,
            3: (gathers + 1) * micro_batches,
        }[stage]
    )


def gathers_of(shape: Shape) -> int:
    """Times that stage 3 puts the weights together in a micro-batch, by what DeepSpeed keeps (1e9 numbers).

    Once if all stay; again for backward; and with checkpointing a third time if not even a layer stays.
    """
    kept = 1_000_000_000
    return 1 + (shape.parameters > kept) + (shape.layer > kept)


def training_seconds(shape: Shape, ranks: int, work: Work = WORK) -> float:
    """Forward, forward again and backward under stage 3; the network works beside the products."""
    tokens = work.completions * (work.prompt + work.mean)
    products = 8 * shape.active * tokens
    # Causal attention: scores and their product with the values, half of the square each; E[length^2] of the spread.
    squares = work.prompt**2 + work.prompt * work.longest + work.longest**2 / 3
    attention = 4 * 2 * shape.layers * shape.queries * work.completions * squares
    compute = (products + attention) / (ranks * HARDWARE.flops)
    rows = -(-work.completions // ranks)
    sent = traffic(shape.parameters, 3, ranks, rows, gathers_of(shape))
    return max(compute, sent / HARDWARE.network(ranks))


def decode_seconds(
    shape: Shape, rows: float, share: int, launch: float, work: Work = WORK
) -> float:
    """One batch of ``rows``, decoded until its longest has ended, on ``share`` GPUs that split every matrix."""
    steps = work.longest
    hit = 1.0
    if shape.experts:
        hit = 1 - (1 - shape.experts_per_token / shape.experts) ** (rows / 2)
    experts = shape.layers * shape.experts * shape.expert
    weights = BFLOAT16 * (shape.parameters - shape.head - experts * (1 - hit))
    positions = rows * (work.prompt * steps / 2 + steps**2 / 6)
    read = steps * weights + positions * cache_row(shape, 1)
    compute = 2 * shape.active * rows * work.mean / (share * HARDWARE.flops)
    return max(read / (share * HARDWARE.bandwidth), compute, steps * launch)


def native_seconds(shape: Shape, ranks: int, work: Work = WORK) -> float | None:
    """Generation by the native engine on all ranks, the gathering of the weights included; None if it does not fit."""
    live = live_that_fit(shape, ranks, work)
    if live < 1:
        return None
    rows = -(-work.completions // ranks)
    batches = -(-rows // live)
    launch = HARDWARE.launch(shape)
    gather = BFLOAT16 * shape.parameters * (ranks - 1) / ranks / HARDWARE.network(ranks)
    return gather + batches * decode_seconds(shape, rows / batches, 1, launch, work)


def server_seconds(shape: Shape, ranks: int, work: Work = WORK) -> float:
    """Generation by vLLM on half of the GPUs, 8 to a replica or fewer; Python costs no time; weights are sent first."""
    share = min(8, ranks // 2)
    replicas = ranks // 2 // share
    sent = 2 * BFLOAT16 * shape.parameters / HARDWARE.network(ranks)
    return sent + decode_seconds(shape, work.completions / replicas, share, 0.0, work)
