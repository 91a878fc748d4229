"""What DeepSpeed holds and sends, by stage, on one and two processes."""

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scripts.scaling_model.formulas import bucket_bytes, zero_states
from scripts.scaling_model.shapes import BFLOAT16, FLOAT32
from scripts.scaling_model.small_models import SMALL, Comparison, bytes_of, small_model, storages
from scripts.scaling_model.traffic_and_time import traffic

ROOT = Path(__file__).parent.parent.parent
COMMAND = ROOT / "scripts" / "scaling.py"
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
        command += [f"--nproc-per-node={ranks}", str(COMMAND), "rank", folder, precision]
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
