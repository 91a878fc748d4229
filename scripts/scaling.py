"""Memory, traffic and time of large policies by formula, and the formulas against small models that are measured.

python scripts/scaling.py table     # the tables of docs/scaling.md
python scripts/scaling.py check     # small models on this CPU: predicted, measured, error
"""

import argparse
import functools
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from torch import Tensor

from scripts.benchmarks.harness import table

ROOT = Path(__file__).parent.parent
GB = 1e9
BFLOAT16, FLOAT32 = 2, 4
BLOCK = 256
"""Columns by which the engine's cache grows (rlent/rollout/cache.py)."""
KEPT_LOGITS = 2**26
"""Bytes of logits up to which the token head keeps them for backward (rlent_kernels/plan.py)."""


# Shapes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A decoder with grouped queries, gated feed-forward layers and RMS norms; no biases."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    """Width of the feed-forward layer, or of one expert."""
    vocabulary: int
    experts: int = 0
    experts_per_token: int = 0
    qk_norm: bool = True

    @property
    def queries(self) -> int:
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def head(self) -> int:
        """Weights of the head; the embedding is another matrix of that size."""
        return self.vocabulary * self.hidden

    @property
    def expert(self) -> int:
        return 3 * self.hidden * self.intermediate

    @property
    def attention(self) -> int:
        return 2 * self.hidden * (self.queries + self.keys)

    @property
    def norms(self) -> int:
        return 2 * self.hidden + (2 * self.head_dim if self.qk_norm else 0)

    @property
    def layer(self) -> int:
        router = self.experts * self.hidden
        return self.attention + self.norms + max(self.experts, 1) * self.expert + router

    @property
    def parameters(self) -> int:
        return self.layers * self.layer + 2 * self.head + self.hidden

    @property
    def active(self) -> int:
        """Weights that a token meets in a matrix product."""
        router = self.experts * self.hidden
        experts = self.experts_per_token or 1
        return self.layers * (self.attention + experts * self.expert + router) + self.head


POLICIES = (
    Shape(
        name="8B",
        layers=36,
        hidden=4096,
        heads=32,
        kv_heads=8,
        head_dim=128,
        intermediate=12288,
        vocabulary=151936,
    ),
    Shape(
        name="32B",
        layers=64,
        hidden=5120,
        heads=64,
        kv_heads=8,
        head_dim=128,
        intermediate=25600,
        vocabulary=151936,
    ),
    Shape(
        name="235B-A22B",
        layers=94,
        hidden=4096,
        heads=64,
        kv_heads=4,
        head_dim=128,
        intermediate=1536,
        vocabulary=151936,
        experts=128,
        experts_per_token=8,
    ),
)
RANKS = (8, 16, 32, 64, 128, 256, 512)


@dataclass(frozen=True, kw_only=True)
class Work:
    """An optimiser step. Lengths of completions are spread evenly from 0 to the longest."""

    completions: int = 1024
    prompt: int = 512
    longest: int = 8192

    @property
    def mean(self) -> float:
        return self.longest / 2

    @property
    def width(self) -> int:
        return self.prompt + self.longest


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """An H100 by its data sheet, and shares of it that are assumed; none was measured."""

    memory: float = 72e9
    """80 GB less a tenth for the CUDA context, NCCL and fragmentation."""
    flops: float = 0.4 * 989e12
    bandwidth: float = 0.6 * 3.35e12
    inside_node: float = 0.8 * 450e9
    between_nodes: float = 0.8 * 50e9
    per_operator: float = 8e-6
    """Seconds until Python has started one operator."""
    operators: int = 56
    """Of a dense layer in a decode step, views left out; `check` counts them."""
    expert_operators: int = 73
    """Of a layer with experts."""

    def network(self, ranks: int) -> float:
        return self.inside_node if ranks <= 8 else self.between_nodes

    def launch(self, shape: Shape) -> float:
        """Seconds that Python takes to start a decode step."""
        operators = self.expert_operators if shape.experts else self.operators
        return shape.layers * operators * self.per_operator


WORK, HARDWARE = Work(), Hardware()


# Formulas -------------------------------------------------------------------------------------------------------


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


# Traffic --------------------------------------------------------------------------------------------------------


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


# Time -----------------------------------------------------------------------------------------------------------


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


# Tables ---------------------------------------------------------------------------------------------------------


def gigabytes(value: float) -> str:
    return f"{value / GB:,.1f}" if value < 100 * GB else f"{value / GB:,.0f}"


def shapes_table() -> str:
    header = ["policy", "layers", "hidden", "heads", "kv heads", "feed-forward", "experts"]
    header += ["weights", "met by a token"]
    rows = [
        [
            shape.name,
            *(str(value) for value in (shape.layers, shape.hidden, shape.heads, shape.kv_heads)),
            str(shape.intermediate),
            f"{shape.experts_per_token} of {shape.experts}" if shape.experts else "-",
            f"{shape.parameters / GB:.2f}e9",
            f"{shape.active / GB:.2f}e9",
        ]
        for shape in POLICIES
    ]
    return table(header, rows)


def states_table() -> str:
    header = [
        "policy, stage",
        "weights",
        "gradients",
        "optimiser",
        *(f"{n} GPUs" for n in (8, 64, 512)),
    ]
    rows = []
    for shape in POLICIES:
        for stage in range(4):
            one = zero_states(shape.parameters, stage, 8)
            parts = [gigabytes(part) for part in (one.weights, one.gradients, one.optimiser)]
            totals = [
                gigabytes(zero_states(shape.parameters, stage, ranks).total)
                for ranks in (8, 64, 512)
            ]
            rows.append([f"{shape.name}, {stage}", *parts, *totals])
    return table(header, rows)


def activations_table() -> str:
    header = [
        "policy",
        "all kept",
        "checkpointing, kept",
        "one layer again",
        "token head",
        "full logits",
    ]
    rows = []
    for shape in POLICIES:
        tokens = WORK.width
        kept = [
            activations(shape, tokens, tokens, BFLOAT16, checkpointing=on) for on in (False, True)
        ]
        head = head_peak(gpu_head(shape, tokens))
        layer = layer_activations(shape, tokens, BFLOAT16)
        # Logits, log-probabilities and their gradient in float32.
        logits = 3 * FLOAT32 * tokens * shape.vocabulary
        rows.append([shape.name, *map(gigabytes, (*kept, layer, head, logits))])
    return table(header, rows)


def rollout_table() -> str:
    header = ["policy", "weights, whole", "MB per completion", *(f"{n} GPUs" for n in RANKS)]
    rows = []
    for shape in POLICIES:
        live = [live_that_fit(shape, ranks) for ranks in RANKS]
        shown = [str(count) if count > 0 else "none" for count in live]
        row = f"{rollout_row(shape, WORK) / 1e6:,.0f}"
        rows.append([shape.name, gigabytes(BFLOAT16 * shape.parameters), row, *shown])
    return table(header, rows)


def fits_table() -> str:
    header = ["policy, peak", *(f"{n} GPUs" for n in RANKS)]
    rows = []
    for shape in POLICIES:
        peaks: dict[str, Callable[[int], float]] = {
            "training, stage 2": lambda ranks, shape=shape: training_bytes(shape, ranks, stage=2),
            "training, stage 3": lambda ranks, shape=shape: training_bytes(shape, ranks),
            "native rollout, 1 live": lambda ranks, shape=shape: native_rollout_bytes(
                shape, ranks, 1
            ),
        }
        rows += [
            [f"{shape.name}, {name}", *(marked(peak(n)) for n in RANKS)]
            for name, peak in peaks.items()
        ]
    return table(header, rows)


def marked(value: float) -> str:
    """Bytes that fit in bold."""
    return f"**{gigabytes(value)}**" if value <= HARDWARE.memory else gigabytes(value)


def traffic_table() -> str:
    header = [
        "policy",
        "stage 0",
        "stage 1",
        "stage 2",
        "stage 3",
        "native, gather",
        "seconds, stage 3",
    ]
    ranks, rows = 64, []
    micro_batches = WORK.completions // ranks
    for shape in POLICIES:
        gathers = gathers_of(shape)
        sent = [
            traffic(shape.parameters, stage, ranks, micro_batches, gathers) for stage in range(4)
        ]
        gather = BFLOAT16 * shape.parameters * (ranks - 1) / ranks
        seconds = f"{sent[3] / HARDWARE.network(ranks):,.0f}"
        rows.append([shape.name, *map(gigabytes, (*sent, gather)), seconds])
    return table(header, rows)


def time_table() -> str:
    header = ["policy, GPUs", "training, s", "native rollout, s", "share", "vLLM on half, s"]
    header += ["training on the other half, s", "share"]
    rows = []
    for shape in POLICIES:
        for ranks in (8, 64, 512):
            train, native = training_seconds(shape, ranks), native_seconds(shape, ranks)
            rows.append([f"{shape.name}, {ranks}", *with_native(shape, ranks, train, native)])
            rows[-1] += with_server(shape, ranks)
    return table(header, rows)


def with_native(shape: Shape, ranks: int, train: float, native: float | None) -> list[str]:
    fits = training_bytes(shape, ranks) <= HARDWARE.memory
    shown = f"{train:,.0f}" if fits else "does not fit"
    if native is None or not fits:
        return [shown, "does not fit" if native is None else f"{native:,.0f}", "-"]
    return [shown, f"{native:,.0f}", f"{native / (native + train):.0%}"]


def with_server(shape: Shape, ranks: int) -> list[str]:
    if training_bytes(shape, ranks // 2) > HARDWARE.memory or not server_fits(shape, ranks):
        return ["does not fit", "-", "-"]
    train, rollout = training_seconds(shape, ranks // 2), server_seconds(shape, ranks)
    return [f"{rollout:,.0f}", f"{train:,.0f}", f"{rollout / (rollout + train):.0%}"]


def server_fits(shape: Shape, ranks: int) -> bool:
    share = min(8, ranks // 2)
    return (
        BFLOAT16 * shape.parameters / share + cache_row(shape, WORK.width) / share
        <= HARDWARE.memory
    )


def largest(fits: Callable[[int], bool], step: int) -> int:
    """The largest multiple of ``step`` that fits, 0 if none does; ``fits`` must not come back once it is lost."""
    low, high = 0, 1
    while fits(high * step):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle * step) else (low, middle)
    return low * step


def limits_table() -> str:
    header = ["limit", *(f"{n} GPUs" for n in (8, 64, 512))]
    ranks = (8, 64, 512)
    dense = [
        largest(lambda p, n=n: (2 + 16 / n) * p + bucket_bytes(3) <= HARDWARE.memory, 10**8)
        for n in ranks
    ]
    rows = [["weights, native rollout under stage 3", *(f"{value / GB:.1f}e9" for value in dense)]]
    for shape in POLICIES:
        longest = [largest(lambda t, n=n, shape=shape: row_fits(shape, n, t), 1024) for n in ranks]
        rows.append(
            [
                f"tokens of one completion in training, {shape.name}",
                *(f"{value:,}" for value in longest),
            ]
        )
    for shape in POLICIES:
        launch = HARDWARE.launch(shape)
        seconds = f"{launch * 32768:,.0f}"
        rows.append(
            [f"least seconds to decode 32,768 tokens natively, {shape.name}", *[seconds] * 3]
        )
    return table(header, rows)


def row_fits(shape: Shape, ranks: int, tokens: int) -> bool:
    work = replace(WORK, longest=tokens - WORK.prompt)
    return training_bytes(shape, ranks, work) <= HARDWARE.memory


TABLES: dict[str, Callable[[], str]] = {
    "Shapes": shapes_table,
    "Weights, gradients, optimiser: GB per GPU (parts at 8 GPUs, then the sum)": states_table,
    "One completion of 8,704 tokens in training: GB per GPU": activations_table,
    "Completions live at once in the native engine under stage 3, per GPU": rollout_table,
    "Peaks: GB per GPU, bold where they fit into 72": fits_table,
    "Sent by a GPU in an optimiser step, 64 GPUs, 16 micro-batches: GB": traffic_table,
    "A step of 1,024 completions: seconds by the model": time_table,
    "Limits": limits_table,
}


def print_tables() -> int:
    print("\n\n".join(f"### {title}\n\n{make()}" for title, make in TABLES.items()))
    return 0


# Measurements ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A predicted number beside the measured one."""

    what: str
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        return abs(self.predicted - self.measured) / max(abs(self.measured), 1.0)


SMALL = Shape(
    name="Llama",
    layers=3,
    hidden=128,
    heads=4,
    kv_heads=2,
    head_dim=32,
    intermediate=320,
    vocabulary=4000,
    qk_norm=False,
)
SMALL_SHAPES = (
    SMALL,
    replace(SMALL, name="Qwen3", qk_norm=True),
    replace(SMALL, name="Qwen3-MoE", qk_norm=True, intermediate=64, experts=8, experts_per_token=2),
)


def small_model(shape: Shape) -> Any:
    """A transformers model of the shape, random weights."""
    import transformers

    options = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    torch.manual_seed(0)
    if shape.experts:
        options |= {
            "moe_intermediate_size": shape.intermediate,
            "num_experts": shape.experts,
            "num_experts_per_tok": shape.experts_per_token,
        }
        return transformers.Qwen3MoeForCausalLM(transformers.Qwen3MoeConfig(**options))
    if shape.qk_norm:
        return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**options))
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**options))


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of the storages of tensors, each once."""
    return sum(storages(tensors).values())


def storages(tensors: Iterable[Tensor]) -> dict[int, int]:
    held = [tensor.untyped_storage() for tensor in tensors]
    # Storages that are freed, or of the device meta, have a size and no address.
    return {storage.data_ptr(): storage.nbytes() for storage in held if storage.data_ptr()}


# (a) What DeepSpeed holds


BUCKET = 50_000
MICRO_BATCHES = 2


def check_states(precisions: Iterable[str]) -> Iterator[Comparison]:
    """Weights, optimiser, gradients and traffic of every stage on one and two processes."""
    size = {"float32": FLOAT32, "bfloat16": BFLOAT16}
    for precision in precisions:
        for ranks in (1, 2):
            for stage, measured in enumerate(measured_states(ranks, precision)):
                case = f"zero {stage}, {ranks} process{'es' * (ranks > 1)}, {precision}"
                expected = zero_states(SMALL.parameters, stage, ranks, size[precision])
                # Stage 2's buffer is given back after every backward pass, stage 1's after the last.
                bucket = bucket_bytes(stage, size[precision], BUCKET) if stage in (1, 3) else 0
                yield Comparison(
                    what=f"weights, {case}",
                    predicted=expected.weights,
                    measured=measured["weights"],
                )
                yield Comparison(
                    what=f"optimiser, {case}",
                    predicted=expected.optimiser,
                    measured=measured["optimiser"],
                )
                yield Comparison(
                    what=f"gradients and buffer, {case}",
                    predicted=expected.gradients + bucket,
                    measured=measured["gradients"],
                )
                sent = traffic(SMALL.parameters, stage, ranks, MICRO_BATCHES)
                yield Comparison(
                    what=f"bytes sent, {case}",
                    predicted=sent * size[precision] / BFLOAT16,
                    measured=measured["sent"],
                )


def measured_states(ranks: int, precision: str) -> list[dict[str, float]]:
    """By stage; of the rank that holds most."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc-per-node={ranks}", __file__, "rank", folder, precision]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        if result.returncode:
            raise RuntimeError(f"the measured processes failed:\n{result.stderr[-4000:]}")
        written = [json.loads(path.read_text()) for path in Path(folder).glob("rank-*.json")]
    stages = zip(*written, strict=True)
    return [{name: max(one[name] for one in stage) for name in stage[0]} for stage in stages]


def run_rank(folder: Path, precision: str) -> int:
    """What one process measures, written as JSON."""
    from rlent.config import Engine
    from rlent.sharding import join_processes

    state = join_processes(Engine(zero=2))
    results = [states_of_stage(stage, precision) for stage in range(4)]
    (folder / f"rank-{state.process_index}.json").write_text(json.dumps(results))
    return 0


def states_of_stage(stage: int, precision: str) -> dict[str, float]:
    """Bytes of a rank after two optimiser steps; gradients at their most between two backward passes."""
    before = bytes_of(live_tensors())
    engine = deepspeed_engine(stage, precision)
    optimiser_step(engine)
    sent_before = sent_bytes()
    held = optimiser_step(engine)
    model, optimiser = engine.module, engine.optimizer
    weights = storages(
        tensor
        for weight in model.parameters()
        for tensor in (weight, getattr(weight, "ds_tensor", weight))
    )
    states = storages(optimiser_tensors(optimiser))
    own = sum(nbytes for pointer, nbytes in states.items() if pointer not in weights)
    result = {
        "weights": sum(weights.values()),
        "optimiser": own,
        "gradients": held - before - sum(weights.values()) - own,
        "sent": sent_bytes() - sent_before,
    }
    engine.destroy()
    del engine, model, optimiser
    gc.collect()
    return result


def deepspeed_engine(stage: int, precision: str) -> Any:
    """The small model as rlent configures DeepSpeed for it, small buffers."""
    from rlent.config import Engine
    from rlent.sharding import deepspeed_config

    settings: dict[str, Any] = {"zero": stage, "precision": precision}
    if stage:
        settings |= {"bucket_size": BUCKET, "overlap_communication": False}
    if stage == 3:
        settings["keep_gathered"] = 0
    config = deepspeed_config(Engine(**settings), precision)
    assert config is not None
    if stage == 3:
        # A large policy has more weights than are kept from forward to backward.
        config["zero_optimization"] |= {
            "stage3_max_live_parameters": 0,
            "stage3_max_reuse_distance": 0,
        }
    config |= {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": MICRO_BATCHES,
        "gradient_clipping": 1.0,
        "comms_logger": {"enabled": True, "prof_all": True},
    }
    import deepspeed

    model = small_model(SMALL)
    optimiser = torch.optim.AdamW(model.parameters())
    return deepspeed.initialize(model=model, optimizer=optimiser, config=config)[0]


def optimiser_step(engine: Any) -> int:
    """An optimiser step; the most bytes of live tensors after a backward pass."""
    ids = torch.arange(16)[None] + 5
    most = 0
    for _ in range(MICRO_BATCHES):
        engine.backward(engine(input_ids=ids, labels=ids).loss)
        most = max(most, bytes_of(live_tensors()))
        engine.step()
    return most


def live_tensors() -> Iterator[Tensor]:
    """Every tensor that Python can see, and its gradient."""
    gc.collect()
    for one in gc.get_objects():
        if issubclass(type(one), Tensor):
            yield one
            if one.is_leaf and one.grad is not None:
                yield one.grad


def optimiser_tensors(optimiser: Any) -> Iterator[Tensor]:
    """Moments, and the float32 weights that are stepped."""
    inner = getattr(optimiser, "optimizer", optimiser)
    for state in inner.state.values():
        yield from (value for value in state.values() if isinstance(value, Tensor))
    for group in inner.param_groups:
        yield from group["params"]
    yield from getattr(optimiser, "fp32_partitioned_groups_flat", ())


def sent_bytes() -> float:
    """What DeepSpeed's own log of collectives says that this rank has sent so far, by ring algorithms."""
    from deepspeed.comm.comm import comms_logger

    ranks = torch.distributed.get_world_size()
    factors = {
        "all_reduce": 2 * (ranks - 1) / ranks,
        "reduce_scatter_tensor": (ranks - 1) / ranks,
        "all_gather_into_tensor": ranks - 1,
    }
    return sum(
        factors.get(name, 0) * size * counts[0]
        for name, sizes in comms_logger.comms_dict.items()
        for size, counts in sizes.items()
    )


# (b) Activations


def check_activations(shapes: Iterable[Shape], length: int) -> Iterator[Comparison]:
    """What the trainer's own loss saves, head included, for two rollouts of ``length`` tokens."""
    for shape in shapes:
        for dtype in (torch.float32, torch.bfloat16):
            for checkpointing in (False, True):
                tokens, scored = 2 * length, length
                case = (
                    f"{shape.name}, {str(dtype).split('.')[1]}{', checkpointing' * checkpointing}"
                )
                yield Comparison(
                    what=f"activations, {case}",
                    predicted=activations(
                        shape, tokens, scored, dtype.itemsize, checkpointing=checkpointing
                    ),
                    measured=saved_bytes(shape, dtype, length, checkpointing=checkpointing),
                )


def saved_bytes(shape: Shape, dtype: torch.dtype, length: int, *, checkpointing: bool) -> int:
    with tempfile.TemporaryDirectory() as folder:
        trainer = small_trainer(shape, Path(folder), dtype)
    trainer.model.to(dtype).train()
    if checkpointing:
        trainer.model.activation_checkpointing_enable()
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = trainer._compute_loss(trainer.model, small_batch(length, shape.vocabulary))
    weights = storages(trainer.model.parameters())
    total = sum(size for pointer, size in storages(saved).items() if pointer not in weights)
    loss.backward()
    return total


def small_trainer(shape: Shape, folder: Path, dtype: torch.dtype) -> Any:
    from datasets import Dataset

    from rlent.small.tokenizer import small_tokenizer
    from rlent.trainer import EntropyGRPOConfig, EntropyGRPOTrainer
    from rlent.trainer.trainer import unlabelled

    options: dict[str, Any] = {"router_aux_loss_coef": 0.0} if shape.experts else {}
    args = EntropyGRPOConfig(
        str(folder),
        per_device_train_batch_size=2,
        num_generations=2,
        max_completion_length=8,
        use_cpu=True,
        bf16=dtype == torch.bfloat16,
        gradient_accumulation_steps=1,
        report_to=[],
        **options,
    )
    trainer = EntropyGRPOTrainer(
        small_model(shape),
        unlabelled,
        args,
        train_dataset=Dataset.from_dict({"prompt": ["1"] * 4}),
        processing_class=small_tokenizer(),
    )
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def small_batch(length: int, vocabulary: int) -> dict[str, Tensor]:
    """Two rollouts without padding, half prompt and half completion."""
    half = length // 2
    ids = torch.randint(5, vocabulary, (2, length), generator=torch.Generator().manual_seed(0))
    ones = torch.ones(2, half, dtype=torch.long)
    return {
        "prompt_ids": ids[:, :half],
        "prompt_mask": ones,
        "completion_ids": ids[:, half:],
        "completion_mask": ones,
        "advantages": torch.tensor([1.0, -1.0]),
        "num_items_in_batch": ones.sum(),
        "group": torch.zeros(2, dtype=torch.long),
        "reward": torch.tensor([1.0, 0.0]),
        "row": torch.arange(2),
    }


# (c) The cache of a rollout


def check_cache(
    shapes: Iterable[Shape], lengths: Iterable[tuple[int, int]]
) -> Iterator[Comparison]:
    for shape in shapes:
        for prompt, completion in lengths:
            columns = cache_columns(prompt, completion)
            yield Comparison(
                what=f"cache, {shape.name}, 4 completions, {prompt} + {completion} tokens",
                predicted=4 * cache_row(shape, columns, FLOAT32),
                measured=measured_cache(shape, prompt, completion),
            )


def measured_cache(shape: Shape, prompt: int, completion: int) -> int:
    """Most bytes of the cache of two completions of two prompts; nothing ends before its limit."""
    from rlent.rollout import RolloutEngine, Sampling

    model, sizes = small_model(shape), [0]

    def look(_module: Any, _args: Any, options: dict[str, Any], _output: Any) -> None:
        layers = options["past_key_values"].layers
        if layers[0].rows == 4:
            sizes.append(bytes_of(part for layer in layers for part in layer._storage))

    model.register_forward_hook(look, with_kwargs=True)
    engine = RolloutEngine(model=model, sampling=Sampling(max_new_tokens=completion))
    engine.generate([range(5, 5 + prompt), range(6, 6 + prompt)], completions=2, seed=0)
    return max(sizes)


# (d) The token head


def check_head(cases: Iterable[tuple[int, int, int]], vocabulary: int) -> Iterator[Comparison]:
    """Peaks of (positions, rows, learning) in both types."""
    for dtype in (torch.float32, torch.bfloat16):
        for positions, rows, learning in cases:
            hidden = 64
            head = Head(
                positions=positions,
                rows=rows,
                learning=learning,
                hidden=hidden,
                vocabulary=vocabulary,
                tile=cpu_tile(positions, vocabulary),
                size=dtype.itemsize,
                widened=dtype == torch.bfloat16,
            )
            case = f"{positions} positions, {rows} scored, {learning} learning, {str(dtype).split('.')[1]}"
            yield Comparison(
                what=f"token head, {case}",
                predicted=head_peak(head),
                measured=measured_head(head, dtype),
            )


def cpu_tile(rows: int, vocabulary: int) -> tuple[int, int]:
    from rlent_kernels.plan import default_tile

    return default_tile(rows, vocabulary, FLOAT32, torch.device("cpu"))


def measured_head(head: Head, dtype: torch.dtype) -> int:
    """Most bytes that torch's allocator gives out beyond the inputs, in forward and backward."""
    from rlent_kernels import token_stats

    generator = torch.Generator().manual_seed(0)
    hidden = (
        torch.randn(head.positions, head.hidden, generator=generator).to(dtype).requires_grad_()
    )
    weight = (
        torch.randn(head.vocabulary, head.hidden, generator=generator).to(dtype).requires_grad_()
    )
    targets = torch.randint(0, head.vocabulary, (head.positions,), generator=generator)
    targets[head.rows :] = -100
    factor = (torch.arange(head.positions) < head.learning).float()

    def work() -> None:
        (token_stats(hidden, weight, targets).log_probs * factor).sum().backward()

    return allocated_peak(work)


def allocated_peak(work: Callable[[], None]) -> int:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    profiler: Any = record.profiler
    events = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


# (e) Operators of a decode step


def check_operators() -> Iterator[Comparison]:
    """Operators that make a tensor, per layer of a decode step: half the difference of depths 2 and 4."""
    for shape in SMALL_SHAPES[1:]:
        shallow, deep = (operators_of(replace(shape, layers=layers)) for layers in (2, 4))
        predicted = HARDWARE.expert_operators if shape.experts else HARDWARE.operators
        yield Comparison(
            what=f"operators of a layer in a decode step, {shape.name}",
            predicted=predicted,
            measured=(deep - shallow) / 2,
        )


def operators_of(shape: Shape) -> int:
    """Operators of the last decode step of one completion that give new storage or write into an old one."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from rlent.rollout import RolloutEngine, Sampling

    counts: list[int] = []

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            view = func.is_view or func.name() == "aten::_unsafe_view"
            counts[-1] += not view
            return func(*args, **(kwargs or {}))

    model = small_model(shape).to(torch.bfloat16)
    plain = model.forward

    @functools.wraps(plain)
    def forward(*args: Any, **kwargs: Any) -> Any:
        counts.append(0)
        with Counting():
            return plain(*args, **kwargs)

    model.forward = forward
    RolloutEngine(model=model, sampling=Sampling(max_new_tokens=3)).generate([range(5, 9)], seed=0)
    return counts[-1]


# Commands -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much is measured."""

    precisions: tuple[str, ...] = ("float32", "bfloat16")
    length: int = 256
    heads: list[tuple[int, int, int]] = field(
        default_factory=lambda: [
            (512, 512, 512),
            (512, 256, 64),
            (2048, 2048, 2048),
            (2048, 1024, 256),
        ]
    )
    vocabulary: int = 20_000


QUICK = Extent(precisions=("bfloat16",), length=128, heads=[(512, 256, 64), (2048, 1024, 256)])


def comparisons(extent: Extent) -> Iterator[Comparison]:
    yield from check_states(extent.precisions)
    yield from check_activations(SMALL_SHAPES, extent.length)
    yield from check_cache(SMALL_SHAPES[1:], [(40, 100), (40, 600)])
    yield from check_head(extent.heads, extent.vocabulary)
    yield from check_operators()


def print_check(extent: Extent, tolerance: float) -> int:
    """0 if no error is above the tolerance."""
    worst = 0.0
    rows = []
    for one in comparisons(extent):
        rows.append([one.what, f"{one.predicted:,.0f}", f"{one.measured:,.0f}", f"{one.error:.1%}"])
        worst = max(worst, one.error)
    print(table(["bytes", "predicted", "measured", "error"], rows))
    print(f"\nlargest error {worst:.1%}, allowed {tolerance:.0%}")
    return int(worst > tolerance)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("table", help="print the tables of docs/scaling.md; takes no time")
    check = commands.add_parser(
        "check",
        help="measure small models and compare",
        description="Measure small models on this CPU, also with two processes under DeepSpeed, and print what the "
        "formulas say beside what was measured. Exit status 1 if they differ by more than the tolerance.",
    )
    check.add_argument("--quick", action="store_true", help="fewer types and sizes")
    check.add_argument(
        "--tolerance", type=float, default=0.1, help="largest relative error (default: %(default)s)"
    )
    rank = commands.add_parser("rank")  # one process of `check`
    rank.add_argument("folder", type=Path)
    rank.add_argument("precision")
    return top


def main() -> int:
    options = parser().parse_args()
    if options.command == "table":
        return print_tables()
    if options.command == "rank":
        return run_rank(options.folder, options.precision)
    return print_check(QUICK if options.quick else Extent(), options.tolerance)


if __name__ == "__main__":
    sys.exit(main())
