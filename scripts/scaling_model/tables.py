"""The tables of docs/scaling.md."""

from collections.abc import Callable

from scripts.benchmarks.harness import table
from scripts.scaling_model.formulas import (
    activations,
    bucket_bytes,
    gpu_head,
    head_peak,
    layer_activations,
    live_that_fit,
    native_rollout_bytes,
    rollout_row,
    row_fits,
    server_fits,
    training_bytes,
    zero_states,
)
from scripts.scaling_model.shapes import (
    BFLOAT16,
    FLOAT32,
    GB,
    HARDWARE,
    POLICIES,
    RANKS,
    WORK,
    Shape,
)
from scripts.scaling_model.traffic_and_time import (
    gathers_of,
    native_seconds,
    server_seconds,
    traffic,
    training_seconds,
)


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
