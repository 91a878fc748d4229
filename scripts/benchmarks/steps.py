"""Training passes and whole steps against TRL's GRPOTrainer on SmolLM2-135M.

``train``: forward and backward of one optimiser step on the same given rollouts, 10 prompts x 8 completions with
lengths spread from 8 to 256 tokens, in 10 micro-batches. Case ``sparse``: 3 of the 10 groups have equal rewards, and a
fifth of the tokens learn (TRL's top_entropy_quantile 0.2, rlent's forking_tokens 0.2). Case ``dense``: every token
learns. In ``dense`` the gradient is compared with TRL's, in ``sparse`` with that of rlent without its savings, because
TRL takes its quantile over micro-batches.

``step``: one step of the quickstart's task from prompts to updated weights, 8 prompts x 8 completions of at most 48
tokens, a fifth of the tokens learning. Each side samples for itself, so tokens are counted as well.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from rlent.config import load_recipe
from rlent.data import resolve_model
from rlent.launch.prepare import prepare
from rlent.trainer import EntropyGRPOConfig, EntropyGRPOTrainer
from rlent.trainer.native_rollout import Captured
from scripts.benchmarks.harness import machine, measured, table, write

ROOT = Path(__file__).parent.parent.parent
GROUPS, SIZE, EQUAL_GROUPS = 10, 8, 3
SHORTEST, LONGEST = 8, 256
FORKING = 0.2
SLOW = {"sort_by_length": False, "skip_idle_rollouts": False}


def arguments(folder: str, bf16: bool, **options: Any) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "num_generations": SIZE,
        "bf16": bf16,
        "use_cpu": not torch.cuda.is_available(),
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 1000,
        "disable_tqdm": True,
        "learning_rate": 1e-6,
        "gradient_checkpointing": False,
        "activation_checkpointing": False,
        **options,
    }


# Training pass --------------------------------------------------------------------------------------------------------


def given_rollouts() -> tuple[list[str], list[list[int]]]:
    """Prompts, one per group, and completions of evenly spread lengths in random order."""
    generator = torch.Generator().manual_seed(0)
    rows = GROUPS * SIZE
    lengths = (
        torch.linspace(SHORTEST, LONGEST, rows)
        .round()
        .int()[torch.randperm(rows, generator=generator)]
    )
    completions = [torch.randint(1000, 40000, (n,), generator=generator).tolist() for n in lengths]
    return [
        f"Problem {i}: " + "What is the sum of these numbers? " * (1 + i % 4) for i in range(GROUPS)
    ], completions


def rewards_of(case: str) -> Callable[..., list[float]]:
    def reward(completions: list[Any], **_: Any) -> list[float]:
        equal = EQUAL_GROUPS * SIZE if case == "sparse" else 0
        return [0.0 if row < equal else float((row * 7) % 5) for row in range(len(completions))]

    return reward


def trainer_on(cls: type[GRPOTrainer], case: str, bf16: bool, folder: str, **options: Any) -> Any:
    """A trainer whose generation batch is the given rollouts."""
    prompts, completions = given_rollouts()
    settings = arguments(
        folder,
        bf16,
        per_device_train_batch_size=SIZE,
        gradient_accumulation_steps=GROUPS,
        max_completion_length=LONGEST,
        loss_type="dapo",
        shuffle_dataset=False,
    )
    extra: dict[str, Any] = {}
    if issubclass(cls, EntropyGRPOTrainer):
        config: Any = EntropyGRPOConfig(**settings, rollout_engine="native", **options)
        extra["interventions"] = (
            [{"forking_tokens": {"fraction": FORKING}}] if case == "sparse" else []
        )
    else:
        config = GRPOConfig(**settings, top_entropy_quantile=FORKING if case == "sparse" else 1.0)
    data = Dataset.from_dict({"prompt": prompts})
    trainer: Any = cls(
        str(resolve_model("smollm2-135m-instruct")),
        rewards_of(case),
        config,
        train_dataset=data,
        **extra,
    )
    _give(trainer, completions)
    rows = [{"prompt": prompt} for prompt in prompts for _ in range(SIZE)]
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = GROUPS
    batch = trainer._generate_and_score_completions(rows)
    trainer._generate_and_score_completions = lambda inputs: dict(batch)
    return trainer


def _give(trainer: Any, completions: list[list[int]]) -> None:
    def generate(*_: Any, **__: Any) -> tuple[list[list[int]], None]:
        if isinstance(trainer, EntropyGRPOTrainer):
            # What the engine would have noted; its values only decide which tokens are selected.
            noise = torch.Generator().manual_seed(1)
            noted = [torch.rand(len(ids), generator=noise) for ids in completions]
            trainer._captured = Captured(completion_ids=completions, logp=noted, entropy=noted)
        return completions, None

    trainer._generate_single_turn = generate


def training_pass(trainer: Any) -> None:
    """Forward and backward of one optimiser step."""
    trainer.model.zero_grad(set_to_none=True)
    trainer._step = 0
    torch.manual_seed(0)  # both shuffle the same rows into the same order
    for _ in range(GROUPS):
        trainer.training_step(trainer.model, None, None)


def gradient(trainer: Any) -> torch.Tensor:
    training_pass(trainer)
    return torch.cat(
        [p.grad.flatten().float() for p in trainer.model.parameters() if p.grad is not None]
    )


def bench_train(case: str, bf16: bool, repeats: int, folder: str) -> dict[str, Any]:
    trl = trainer_on(GRPOTrainer, case, bf16, folder)
    rlent = trainer_on(EntropyGRPOTrainer, case, bf16, folder)
    other = trl if case == "dense" else trainer_on(EntropyGRPOTrainer, case, bf16, folder, **SLOW)
    expected = gradient(other)
    difference = ((gradient(rlent) - expected).norm() / expected.norm()).item()
    print(f"gradients of {case} differ by {difference:.1e}", file=sys.stderr, flush=True)
    works = {"trl": lambda: training_pass(trl), "rlent": lambda: training_pass(rlent)}
    seconds, peaks = measured(works, repeats)
    return {
        "case": case,
        "precision": "bfloat16 autocast" if bf16 else "float32",
        "seconds": seconds,
        "ratio": seconds["trl"] / seconds["rlent"],
        "peak_mib": {name: peak / 2**20 for name, peak in peaks.items()},
        "gradient_difference": difference,
    }


# Whole step -----------------------------------------------------------------------------------------------------------


def step_trainer(cls: type[GRPOTrainer], bf16: bool, folder: str) -> Any:
    recipe = load_recipe(
        ROOT / "recipes" / "quickstart.yaml", ["evaluation=null", "tracking.rollouts=false"]
    )
    prepared = prepare(recipe, Path(folder))
    settings = arguments(
        folder,
        bf16,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=4,
        max_completion_length=48,
        max_steps=1,
        temperature=recipe.trainer["temperature"],
        loss_type="dapo",
    )
    extra: dict[str, Any] = {}
    if issubclass(cls, EntropyGRPOTrainer):
        config: Any = EntropyGRPOConfig(**settings, rollout_engine="native")
        extra["interventions"] = [{"forking_tokens": {"fraction": FORKING}}]
    else:
        config = GRPOConfig(**settings, top_entropy_quantile=FORKING)
    return cls(
        prepared.model,
        [reward.function for reward in recipe.rewards],
        config,
        train_dataset=prepared.train,
        processing_class=prepared.tokenizer,
        **extra,
    )


def bench_step(bf16: bool, repeats: int, folder: str) -> dict[str, Any]:
    trainers = {
        "trl": step_trainer(GRPOTrainer, bf16, folder),
        "rlent": step_trainer(EntropyGRPOTrainer, bf16, folder),
    }
    tokens: dict[str, list[float]] = {name: [] for name in trainers}

    def step(name: str) -> None:
        before = trainers[name].state.num_input_tokens_seen
        trainers[name].train()
        tokens[name].append(trainers[name].state.num_input_tokens_seen - before)

    for name in trainers:
        step(name)  # the first step pays for memory and kernels
        tokens[name].clear()
    works = {name: (lambda name=name: step(name)) for name in trainers}
    seconds, peaks = measured(works, repeats)
    return {
        "case": "quickstart step",
        "precision": "bfloat16 autocast" if bf16 else "float32",
        "seconds": seconds,
        "ratio": seconds["trl"] / seconds["rlent"],
        "peak_mib": {name: peak / 2**20 for name, peak in peaks.items()},
        "tokens": {name: sum(counts) / len(counts) for name, counts in tokens.items()},
    }


def report(results: list[dict[str, Any]]) -> str:
    header = [
        "case",
        "precision",
        "trl (s)",
        "rlent (s)",
        "trl / rlent",
        "peak trl, rlent (MiB)",
        "gradients differ by",
    ]
    rows = [
        [
            r["case"],
            r["precision"],
            f"{r['seconds']['trl']:.2f}",
            f"{r['seconds']['rlent']:.2f}",
            f"{r['ratio']:.2f}",
            f"{r['peak_mib']['trl']:.0f}, {r['peak_mib']['rlent']:.0f}",
            f"{r['gradient_difference']:.0e}" if "gradient_difference" in r else "",
        ]
        for r in results
    ]
    return table(header, rows)


def main(kind: str, given: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog=f"bench.py {kind}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--precision", nargs="+", choices=["float32", "bfloat16"], default=["bfloat16"]
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="measured rounds; medians are reported"
    )
    parser.add_argument("--out", type=Path, help=f"folder for {kind}.md and {kind}.json")
    if kind == "train":
        parser.add_argument(
            "--cases", nargs="+", choices=["sparse", "dense"], default=["sparse", "dense"]
        )
    args = parser.parse_args(given)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for precision in args.precision:
            bf16 = precision == "bfloat16"
            if kind == "train":
                results += [bench_train(case, bf16, args.repeats, folder) for case in args.cases]
            else:
                results.append(bench_step(bf16, args.repeats, folder))
    where = machine("trl", "transformers")
    heading = ", ".join(
        f"{name} {value}" if name != "device" else value for name, value in where.items()
    )
    write(args.out, kind, f"{heading}\n\n{report(results)}", {"machine": where, "results": results})
