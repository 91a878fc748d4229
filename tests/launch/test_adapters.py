"""Adapters through recipes: alone in checkpoints and models, resumed, merged; mistakes in the section."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from rlent.errors import ConfigError
from rlent.launch.cli import main
from rlent.tracking import read_metrics
from rlent.trainer.adapters import adapter_config
from tests.tiny import tiny_model

Recipe = dict[str, Any]
Write = Callable[[Recipe], str]

LORA = {"lora": {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}}
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def trained(recipe: Recipe, write: Write) -> str:
    """The recipe of a run of three steps, which is ``runs/small``; a KL term asks for the model without adapter."""
    recipe["model"]["adapter"] = LORA
    recipe["trainer"] |= {"max_steps": 3, "save_steps": 2, "beta": 0.1, "learning_rate": 1e-2}
    recipe["trainer"]["lr_scheduler_type"] = "constant"
    recipe["rewards"] = [{"python_function": {"function": "tests.trainer.helpers.digits_reward"}}]
    recipe["evaluation"] = None
    path = write(recipe)
    assert main(["train", path]) == 0
    return path


def logits(model: Any) -> torch.Tensor:
    tokens = torch.arange(24).reshape(2, 12) % tiny_model().config.vocab_size
    with torch.no_grad():
        return model.eval()(input_ids=tokens).logits


def measured(run: Path) -> list[dict[str, float]]:
    """Every metric of every step but times."""
    rows = [row for row in read_metrics(run / "metrics.jsonl") if "loss" in row]
    return [
        {
            name: value
            for name, value in row.items()
            if "time" not in name and "per_second" not in name
        }
        for row in rows
    ]


@pytest.mark.slow
def test_the_adapter_alone_is_saved_resumed_and_merged(
    trained: str, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path("runs/small")
    only_the_adapter_is_saved(run, tiny_folder)
    it_is_merged(run, tiny_folder, capsys)
    it_is_resumed(run, trained, capsys)


def only_the_adapter_is_saved(run: Path, base: Path) -> None:
    names = {name for name, _ in tiny_model().named_parameters()}
    for folder in (run / "model", run / "checkpoint-2", run / "checkpoint-3"):
        assert [path.name for path in folder.glob("*.safetensors")] == [WEIGHTS]
        assert not [*folder.glob("*model*.bin"), *folder.glob("model*")]
        saved = load_file(folder / WEIGHTS)
        # q, k, v, o, gate, up and down of two layers; two factors of rank 4 each.
        assert len(saved) == 2 * 7 * 2
        assert all("lora_" in name and name not in names for name in saved)
        assert all(4 in weight.shape for weight in saved.values())
        assert any(weight.abs().max() > 0 for name, weight in saved.items() if "lora_B" in name)
        said = json.loads((folder / "adapter_config.json").read_text())
        assert (said["peft_type"], said["r"], said["lora_alpha"]) == ("LORA", 4, 8)
        assert said["base_model_name_or_path"] == str(base)


def it_is_merged(run: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", str(run)]) == 0
    below = AutoModelForCausalLM.from_pretrained(base)
    without = logits(below)
    with_adapter = logits(PeftModel.from_pretrained(below, str(run / "model")))
    assert (with_adapter - without).abs().max() > 1e-3
    merged = logits(AutoModelForCausalLM.from_pretrained(run / "merged"))
    torch.testing.assert_close(merged, with_adapter, rtol=1e-5, atol=1e-5)
    assert (run / "merged" / "tokenizer.json").is_file()
    assert not (run / "merged" / "adapter_config.json").exists()

    written = {path: path.stat().st_mtime_ns for path in (run / "merged").iterdir()}
    assert main(["merge", str(run)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (run / "merged").iterdir()} == written
    assert main(["merge", str(run / "checkpoint-2"), "--output", "elsewhere"]) == 0
    assert Path("elsewhere/model.safetensors").is_file()
    assert main(["merge", str(run / "merged")]) == 2
    assert "holds no adapter" in capsys.readouterr().err


def it_is_resumed(run: Path, recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    """From the checkpoint after step 2: the third step and the adapter are those of the whole run."""
    steps, adapter = measured(run), load_file(run / "model" / WEIGHTS)
    assert len(steps) == 3
    assert all(row["grad_norm"] > 0 for row in steps)
    assert steps[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert steps[2]["kl"] > 1e-4
    (run / "checkpoint-3" / WEIGHTS).unlink()
    assert main(["train", recipe, "--resume"]) == 0
    assert "resumed from checkpoint-2" in capsys.readouterr().out
    assert measured(run) == steps
    again = load_file(run / "model" / WEIGHTS)
    assert again.keys() == adapter.keys()
    assert all(torch.equal(again[name], adapter[name]) for name in adapter)


def test_a_model_of_which_all_weights_are_trained_has_no_adapter() -> None:
    assert adapter_config(None) is None


def test_options_reach_peft() -> None:
    config = adapter_config({"lora": {"r": 3, "lora_dropout": 0.25, "target_modules": ["q_proj"]}})
    assert (config.r, config.lora_dropout, config.target_modules) == (3, 0.25, {"q_proj"})
    assert config.task_type == "CAUSAL_LM"
    assert type(adapter_config({"ia3": {}})).__name__ == "IA3Config"


@pytest.mark.parametrize(
    ("section", "key", "said"),
    [
        ({"lara": {}}, "model.adapter.lara", "peft has no such method"),
        ({"lora": {"rank": 4}}, "model.adapter.lora", "rank"),
        ({"lora": {"r": 4, "layers_to_transform": [0], "target_modules": "q.*"}}, "lora", "layers"),
    ],
)
def test_mistakes_in_the_section(section: dict[str, Any], key: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        adapter_config(section)
    assert key in str(caught.value.key)
    assert said in str(caught.value)


def test_a_mistake_is_met_before_anything_is_written(
    recipe: Recipe, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe["model"]["adapter"] = {"lora": {"rank": 4}}
    assert main(["train", write(recipe)]) == 2
    assert "rank" in capsys.readouterr().err
    assert not Path("runs").exists()
