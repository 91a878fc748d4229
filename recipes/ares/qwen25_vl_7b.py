"""Qwen2.5-VL-7B on ViRL39K: ARES with images. A recipe in YAML cannot name images, so this one is Python.

Paper      Chen et al., "ARES: Multimodal Adaptive Reasoning via Difficulty-Aware Token-Level Entropy Shaping", arXiv
           2510.08457, App. A, read as notes on its full text. "Config" is the authors' experiments/AEPO/config.yaml.
Reported   mean of multimodal benchmarks 55.9 for a model of this size, from a cold start on 224K solutions; with GRPO
           alone 53.4 on four of them, with all parts 55.7 (the paper's numbers, not ours)
Launch     torchrun --nproc-per-node 8 recipes/ares/qwen25_vl_7b.py ViRL39K.parquet --model COLD_STARTED_MODEL
           8 GPUs of 80 GB with the vllm extra and torchvision.
Status     Its settings are built and checked in a test; not run at this size.

Not reproduced: the cold start (2 epochs, batches of 256, learning rate 2e-5; `rlent cold-start` chooses solutions by
length), branching at uncertain windows, the list of trigger words, the online filter of prompts with a mean accuracy
outside of [0.01, 0.99] (rlent gives completions up in text-only training alone; their advantages are 0), and how
answers that are no mathematics were graded.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlent import EntropyGRPOConfig, EntropyGRPOTrainer
from rlent_rewards import MathAnswer

INSTRUCTION = (  # config: math.jinja
    "You FIRST think about the reasoning process as an internal monologue and then provide the final answer. "
    "The reasoning process MUST BE enclosed within <think> </think> tags. The final answer MUST BE put in \\boxed{}."
)

INTERVENTIONS: list[dict[str, dict[str, Any]]] = [
    {"ares_reward": {"window": 4}},  # config and paper
    {"ares_kl": {"window": 4, "weight": 0.01}},  # config: kl_coef
]


def settings(output: Path, **machine: Any) -> EntropyGRPOConfig:
    """The published settings; ``machine`` replaces those that are not the method's."""
    return EntropyGRPOConfig(
        str(output),
        **{
            # 8 GPUs * 1 * 512 = 4096 completions = 512 prompts x 8; 512 / 128 = 4 updates of 128 prompts (paper).
            "per_device_train_batch_size": 1,
            "steps_per_generation": 512,
            "gradient_accumulation_steps": 128,
            "num_generations": 8,  # paper
            "num_train_epochs": 50,  # config; the paper's number of steps was not found
            "loss_type": "dapo",  # config: over tokens
            "epsilon": 0.2,  # the code's default
            "epsilon_high": 0.3,  # the code's default
            "delta": 3.0,  # the code's default
            "beta": 0.0,  # the KL term is ares_kl's
            "learning_rate": 1e-6,  # paper
            "lr_scheduler_type": "constant",  # config: no warmup
            "weight_decay": 0.01,  # paper
            "max_grad_norm": 1.0,  # config
            "temperature": 1.0,  # paper
            "top_p": 0.99,  # paper
            "max_completion_length": 16384,  # paper; the config has 8192
            "save_steps": 20,  # config: every 5 generation batches
            "vllm_importance_sampling_correction": False,
            "vllm_max_model_length": 20480,  # paper: prompts of up to 4096 tokens
            "use_vllm": True,
            "vllm_mode": "colocate",
            "gradient_checkpointing": True,
            "bf16": True,
            **machine,
        },
    )


def example(row: dict[str, Any]) -> dict[str, Any]:
    """A row of ViRL39K in TRL's layout; its columns are those of its public description, which was not downloaded."""
    question = row["question"].replace("<image>", "").strip()
    return {
        "prompt": [{"role": "user", "content": f"{question} {INSTRUCTION}"}],
        "images": row["image"],
        "answer": row["answer"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    from datasets import Image, List, load_dataset

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "data", help="Parquet file with question, answer and image (a list of paths)"
    )
    parser.add_argument("--model", default="Qwen/Qwen2.5-VL-7B-Instruct", help="a cold-started one")
    parser.add_argument("--output", type=Path, default=Path("runs/qwen25_vl_7b"))
    options = parser.parse_args(arguments)
    rows: Any = load_dataset("parquet", data_files=options.data, split="train")
    rows = rows.map(example, remove_columns=rows.column_names)
    EntropyGRPOTrainer(
        options.model,
        MathAnswer(),
        settings(options.output),
        train_dataset=rows.cast_column("images", List(Image())),
        interventions=INTERVENTIONS,
    ).train()


if __name__ == "__main__":
    main()
