"""Memory by formula: states, activations, the token head, the cache of a rollout, and their peaks."""

from dataclasses import dataclass, replace

from scripts.scaling_model.shapes import BFLOAT16, FLOAT32, HARDWARE, WORK, Shape, Work

BLOCK = 256
"""Columns by which the engine's cache grows (rlent/rollout/cache.py)."""
KEPT_LOGITS = 2**26
"""Bytes of logits up to which the token head keeps them for backward (rlent_kernels/plan.py)."""


@dataclass(frozen=True, kw_only=True)
class States:
    """Bytes that a rank holds from step to step."""

    weights: float
    optimiser: float
    gradients: float

    @property
    def total(self) -> float:
        return self.weights + self.optimiser + self.gradients


def zero_states(parameters: int, stage: int, ranks: int, size: int = BFLOAT16) -> States:
    """Weights and gradients of ``size`` bytes, two float32 moments, and a float32 copy of the weights (AdamW).

    The copy is missing where stage 0 trains float32 weights. Stage 1 reduces gradients once, after the last
    micro-batch, and holds all of them until then.
    """
    copy = 0 if stage == 0 and size == FLOAT32 else 4
    return States(
        weights=size * parameters / (ranks if stage == 3 else 1),
        optimiser=(8 + copy) * parameters / (ranks if stage >= 1 else 1),
        gradients=size * parameters / (ranks if stage >= 2 else 1),
    )


def bucket_bytes(stage: int, size: int = BFLOAT16, numbers: int = 500_000_000) -> int:
    """The buffer in which gradients are put together before they are sent."""
    return 0 if stage == 0 else size * numbers


def norm_bytes(numbers: int, groups: int, size: int) -> int:
    """Saved by RMS norms of ``numbers`` in ``groups``: float32 input, its root, and the weight's factor."""
    return (4 + size) * numbers + 4 * groups


def layer_activations(shape: Shape, tokens: int, size: int) -> int:
    """Bytes that a layer saves for backward: scaled-dot-product attention without a mask, no dropout."""
    norms = 2 * (norm_bytes(shape.hidden, 1, size) + size * shape.hidden)
    attention = size * (2 * shape.queries + 2 * shape.keys) + 4 * shape.heads
    if shape.qk_norm:
        norms += norm_bytes(shape.queries, shape.heads, size)
        norms += norm_bytes(shape.keys, shape.kv_heads, size)
    return tokens * (norms + attention + feed_forward_activations(shape, size))


def feed_forward_activations(shape: Shape, size: int) -> int:
    """By token: gate, silu of it, up, and their product; for every expert of a token its input and output as well."""
    if not shape.experts:
        return 4 * shape.intermediate * size
    by_expert = size * (2 * shape.hidden + 4 * shape.intermediate)
    return shape.experts_per_token * by_expert + 4 * shape.experts


def outside_layers(shape: Shape, tokens: int, scored: int, size: int) -> int:
    """The last norm, the head's hidden states, and its logits where they are few."""
    logits = FLOAT32 * scored * shape.vocabulary
    last = norm_bytes(shape.hidden, 1, size) + size * shape.hidden
    return tokens * last + (logits if logits <= KEPT_LOGITS else 0)


def activations(shape: Shape, tokens: int, scored: int, size: int, *, checkpointing: bool) -> int:
    """Bytes saved for backward after a forward pass; ``scored`` tokens reach the token head."""
    layer = (
        size * tokens * shape.hidden if checkpointing else layer_activations(shape, tokens, size)
    )
    return shape.layers * layer + outside_layers(shape, tokens, scored, size)


@dataclass(frozen=True, kw_only=True)
class Head:
    """A call of the token head by its plan: ``rows`` scored out of ``positions``, ``learning`` with a gradient."""

    positions: int
    rows: int
    learning: int
    hidden: int
    vocabulary: int
    tile: tuple[int, int]
    size: int = BFLOAT16
    widened: bool = False
    """Whether operands of products are float32 copies: bfloat16 on a CPU."""


def head_forward(head: Head) -> int:
    """Three tiles of float32 logits, the rows that are computed where these are not all, and kept logits."""
    operand = FLOAT32 if head.widened else head.size
    copies = head.widened or head.rows < head.positions
    tiles = 3 * FLOAT32 * min(head.rows, head.tile[0]) * head.tile[1]
    cast = FLOAT32 * head.tile[1] * head.hidden if head.widened else 0
    return tiles + cast + copies * operand * head.rows * head.hidden + kept_logits(head)


def kept_logits(head: Head) -> int:
    logits = FLOAT32 * head.rows * head.vocabulary
    return logits if logits <= KEPT_LOGITS else 0


def head_backward(head: Head) -> int:
    """Tiles, float32 gradients of the hidden states, the weight's gradient and a float32 tile of it."""
    operand = FLOAT32 if head.widened else head.size
    copies = head.widened or head.learning < head.positions
    # In bfloat16 the gradient of a tile is rounded into a fourth one.
    widths = 3 * FLOAT32 + (BFLOAT16 if head.size == BFLOAT16 else 0)
    tiles = widths * min(head.learning, head.tile[0]) * head.tile[1]
    cast = FLOAT32 * head.tile[1] * head.hidden * (head.widened + (head.size != FLOAT32))
    rows = head.learning * head.hidden * (FLOAT32 + copies * operand)
    kept = kept_logits(head)
    picked = 0 if head.learning == head.rows else kept * head.learning // head.rows
    return tiles + cast + rows + kept + picked + head.size * head.hidden * head.vocabulary


def head_peak(head: Head) -> int:
    return max(head_forward(head), head_backward(head))


def gpu_head(shape: Shape, tokens: int) -> Head:
    """The head on an H100: 50 MiB of level-2 cache, tiles as ``default_tile`` makes them."""
    cells = int(0.67 * 50 * 2**20) // FLOAT32
    columns = max(2048, min(cells // max(tokens, 64), 8192))
    return Head(
        positions=tokens,
        rows=tokens,
        learning=tokens,
        hidden=shape.hidden,
        vocabulary=shape.vocabulary,
        tile=(max(cells // columns // 64, 1) * 64, columns),
    )


def cache_columns(prompt: int, completion: int) -> int:
    """Columns of the engine's cache at the end of equally long completions; the last token is not in it."""
    columns = prompt + BLOCK
    while columns < prompt + completion - 1:
        columns += BLOCK + 1
    return columns


def cache_row(shape: Shape, columns: int, size: int = BFLOAT16) -> int:
    """Bytes of keys and values of one completion."""
    return 2 * shape.layers * shape.keys * columns * size


def rollout_row(shape: Shape, work: Work) -> int:
    """Bytes of one live completion in the native engine: its cache, and four float32 copies of its logits."""
    columns = cache_columns(work.prompt, work.longest)
    return cache_row(shape, columns) + 4 * FLOAT32 * shape.vocabulary


def gathered_bytes(shape: Shape) -> int:
    """Bytes that stage 3 puts together beyond a rank's part in training: 1e9 numbers or the largest layer."""
    return BFLOAT16 * min(max(1_000_000_000, shape.layer), shape.parameters)


def step_bytes(shape: Shape, ranks: int, stage: int) -> float:
    """Float32 copy of the gradients while the optimiser steps: stage 3 takes 1e9 numbers at a time."""
    part = shape.parameters / (ranks if stage else 1)
    return FLOAT32 * (min(part, 1_000_000_000) if stage == 3 else part)


def training_bytes(shape: Shape, ranks: int, work: Work = WORK, stage: int = 3) -> float:
    """Peak of a rank with gradient checkpointing and one completion of the greatest length at a time."""
    states = zero_states(shape.parameters, stage, ranks).total + bucket_bytes(stage)
    gathered = gathered_bytes(shape) if stage == 3 else 0
    held = activations(shape, work.width, work.width, BFLOAT16, checkpointing=True)
    # A layer that is computed again, with the gradient of its weights. The head's backward is over by then.
    layer = layer_activations(shape, work.width, BFLOAT16) + BFLOAT16 * shape.layer
    backward = gathered + held + max(layer, head_peak(gpu_head(shape, work.width)))
    return states + max(backward, step_bytes(shape, ranks, stage))


def native_rollout_bytes(shape: Shape, ranks: int, live: int, work: Work = WORK) -> float:
    """Peak of a rank that generates under stage 3: its part of everything, and the whole of the weights."""
    states = zero_states(shape.parameters, 3, ranks).total + bucket_bytes(3)
    return states + BFLOAT16 * shape.parameters + live * rollout_row(shape, work)


def live_that_fit(shape: Shape, ranks: int, work: Work = WORK) -> int:
    """Completions that the native engine can hold at once on a rank; below 0 if the weights do not fit."""
    room = HARDWARE.memory - native_rollout_bytes(shape, ranks, 0, work)
    return int(room // rollout_row(shape, work))


def server_fits(shape: Shape, ranks: int) -> bool:
    share = min(8, ranks // 2)
    return (
        BFLOAT16 * shape.parameters / share + cache_row(shape, WORK.width) / share
        <= HARDWARE.memory
    )


def row_fits(shape: Shape, ranks: int, tokens: int) -> bool:
    work = replace(WORK, longest=tokens - WORK.prompt)
    return training_bytes(shape, ranks, work) <= HARDWARE.memory
