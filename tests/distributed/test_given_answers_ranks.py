"""Losses over given answers on one process and on two, plain and under ZeRO: the same metrics and the same model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from rlent.tracking import read_metrics
from tests.distributed.cases import largest_difference
from tests.distributed.processes import launch, rlent
from tests.distributed.test_other_number import cut_back
from tests.tiny import save_tiny_model, tiny_model

ENGINES = {
    "data parallel": {},
    "zero 0": {"zero": 0},
    "zero 2": {"zero": 2},
    "zero 3": {"zero": 3, "keep_gathered": 0},
}
"""Recipe sections; nothing is small enough to stay whole in the last."""
LORA = {"lora": {"r": 4, "target_modules": "all-linear"}}
CASES: dict[str, dict[str, Any]] = {
    "tdpo": {"loss": {"tdpo": {"variant": 2}}},
    "tdpo-lora": {"loss": {"tdpo": {"variant": 1}}, "adapter": LORA},
    "cdpo": {"loss": {"cdpo": {"positive": "other", "negative": "adapter"}}},
    "diversity_or_precision": {
        "loss": {"diversity_or_precision": {"beta": -0.25, "tail": -0.1, "k": 5}}
    },
    "align_distil": {"loss": {"align_distil": {"dpo_model": "other", "reverse_model": "adapter"}}},
}
"""What a recipe says beside the rest; the models it names are made by ``models``."""
FROM_COMPLETIONS = ("diversity_or_precision", "align_distil")


def save_adapter(base: Path, folder: Path) -> None:
    """An adapter on ``base`` that changes it, unlike a fresh one."""
    model = get_peft_model(
        tiny_model(), LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
    )
    torch.manual_seed(7)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(str(folder))


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of all cases, each with 49 rows: two processes have not as many of them to score."""
    folder = tmp_path_factory.mktemp("recipes")
    save_tiny_model(folder / "model")
    tiny_model(seed=1).save_pretrained(folder / "other")
    save_adapter(folder / "model", folder / "adapter")
    rows = [
        {
            "prompt": f"{a % 9} + {a % 5} =",
            "chosen": " so" * (1 + a % 3) + f" {a % 7}",
            "rejected": " wait" * (1 + a % 4),
        }
        for a in range(49)
    ]
    data = folder / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [write_recipe(folder, name, **case) for name, case in CASES.items()]


def write_recipe(
    folder: Path, name: str, loss: dict[str, Any], adapter: dict[str, Any] | None = None
) -> str:
    ((kind, options),) = loss.items()
    named = {
        role: str(folder / value) if isinstance(value, str) else value
        for role, value in options.items()
    }
    data: dict[str, Any] = {"name": str(folder / "pairs.jsonl"), "style": "plain"}
    if kind in FROM_COMPLETIONS:
        data["columns"] = {"completion": "chosen"}
    recipe = {
        "output_dir": str(folder / "runs"),
        "model": {"name": str(folder / "model"), "adapter": adapter},
        "data": data,
        "loss": {kind: named},
        "trainer": {
            "max_steps": 3,
            "learning_rate": 1e-3,
            "lr_scheduler_type": "constant",
            # Else AdamW makes a whole step of a gradient that is rounding alone.
            "adam_epsilon": 1e-5,
            "gradient_accumulation_steps": 2,
            "max_length": 64,
            "save_strategy": "no",
        },
        "engine": {"precision": "float32"},
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(recipe))
    return str(path)


def trained(ranks: int, folder: Path, engine: dict[str, Any], recipes: list[str]) -> list[dict]:
    options = {"trainer.per_device_train_batch_size": 4 // ranks} | {
        f"engine.{name}": value for name, value in engine.items()
    }
    overrides = [f"{name}={value}" for name, value in options.items()]
    return launch("given_answers.py", ranks, folder, json.dumps(overrides), *recipes)


@pytest.fixture(scope="module")
def one_process(recipes: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict:
    return trained(1, tmp_path_factory.mktemp("one"), {}, recipes)[0]


@pytest.fixture(scope="module", params=ENGINES)
def two_processes(
    request: pytest.FixtureRequest, recipes: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[dict]]:
    folder = tmp_path_factory.mktemp("two")
    return request.param, trained(2, folder, ENGINES[request.param], recipes)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_learn_what_one_learns(
    one_process: dict, two_processes: tuple[str, list[dict]], case: str
) -> None:
    """Loss, gradient norm, every metric, and the weights at the end."""
    engine, (first, second) = two_processes
    one, two = one_process[case], first[case]
    assert two["backend"] == f"DistributedType.{'DEEPSPEED' if 'zero' in engine else 'MULTI_CPU'}"
    sharded = engine == "zero 3"
    assert two["partitioned"] == (len(two["weights"]) if sharded else 0)
    assert two["others_partitioned"] == (two["others"] if sharded else 0)
    assert two["scorers"] == 0
    assert len(one["steps"]) == 3
    assert all(row["grad_norm"] > 0 for row in one["steps"])
    assert largest_difference(one["steps"], two["steps"], parts=True) < 1e-5
    assert two["weights"] == pytest.approx(one["weights"], rel=1e-5, abs=1e-5)
    assert second[case]["weights"] == two["weights"]


@pytest.mark.slow
@pytest.mark.parametrize(("case", "zero"), [("align_distil", 2), ("tdpo-lora", 3)])
def test_a_resumed_run_is_the_run_that_was_not_stopped(
    recipes: list[str], tmp_path: Path, case: str, zero: int
) -> None:
    options = {
        "output_dir": tmp_path,
        "engine.zero": zero,
        "trainer.per_device_train_batch_size": 2,
        "trainer.max_steps": 3,
        "trainer.save_strategy": "steps",
        "trainer.save_steps": 1,
        "trainer.save_total_limit": 5,
    }
    command = ["train", recipes[[*CASES].index(case)], *(f"{k}={v}" for k, v in options.items())]
    whole = rlent(2, *command, "name=whole")
    assert whole.returncode == 0, whole.stderr[-3000:]
    cut_back(tmp_path / "whole", "again", 1)
    again = rlent(2, *command, "name=again", "--resume")
    assert again.returncode == 0, again.stderr[-3000:]
    assert "resumed from checkpoint-1" in again.stdout
    one, two = (
        [row for row in read_metrics(tmp_path / name / "metrics.jsonl") if "loss" in row]
        for name in ("whole", "again")
    )
    assert len(one) == 3
    assert largest_difference(one, two) < 1e-6
    file = "adapter_model.safetensors" if "lora" in case else "model.safetensors"
    one, two = (load_file(tmp_path / name / "model" / file) for name in ("whole", "again"))
    assert one
    for name, weight in one.items():
        assert weight.numel() > 0
        torch.testing.assert_close(two[name], weight, rtol=0, atol=1e-6)
