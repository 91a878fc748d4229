"""``rlent eval`` as a user types it, and the same sets inside training."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from rlent.launch.cli import main, parse
from rlent.tracking import read_metrics
from tests.launch.test_resume import wait_for

Recipe = dict[str, Any]
Write = Callable[[Recipe], str]
FOLDER = Path("runs/evaluations/small")


@pytest.fixture
def with_sets(recipe: Recipe) -> Recipe:
    """The recipe with two further sets."""
    data = {"name": "additions.jsonl", "style": "plain"}
    recipe["evaluation"] |= {
        "batch_size": 8,
        "sets": {
            "adds": {"data": data | {"size": 6}, "samples": 4, "k": [2, 4], "every": 4},
            "few": {"data": data | {"size": 3, "seed": 1}, "every": 0},
        },
    }
    return recipe


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_command_and_its_files(
    with_sets: Recipe, write: Write, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", write(with_sets), "--samples", "2"]) == 0
    shown = capsys.readouterr().out
    folder = FOLDER / tiny_folder.name
    for part in (
        f"model      {tiny_folder}",
        "held_out: 8 problems, a greedy completion and 2 drawn (temperature 1,",
        "adds: 6 problems, a greedy completion and 4 drawn",
        "few: 3 problems",
        "scored by math_answer",
        "95% interval",
        f"results  {folder}",
    ):
        assert part in shown
    found = summary(folder)
    assert list(found) == ["held_out", "adds", "few"]
    names = ["pass@1", "avg@2", "pass@2", "maj@2"]
    assert [list(found[name]["metrics"]) for name in ("held_out", "few")] == [names] * 2
    assert list(found["adds"]["metrics"]) == ["pass@1", "avg@4", "pass@2", "pass@4", "maj@4"]
    for name, count in (("held_out", 8), ("adds", 6), ("few", 3)):
        assert found[name]["problems"] == count
        problems = pq.read_table(folder / name / "problems.parquet").to_pylist()
        assert [row["problem"] for row in problems] == list(range(count))
        completions = [
            row
            for path in (folder / name / "completions").glob("*.parquet")
            for row in pq.read_table(path).to_pylist()
        ]
        assert len(completions) == count * (5 if name == "adds" else 3)
        greedy = [row["score"] for row in completions if row["sample"] is None]
        value = found[name]["metrics"]["pass@1"]
        assert value["value"] == pytest.approx(sum(greedy) / count)
        assert value["low"] <= value["value"] <= value["high"]


def test_batches_change_no_completion(with_sets: Recipe, write: Write) -> None:
    path = write(with_sets)
    texts = []
    for size in (3, 64):
        out = f"size-{size}"
        command = ["eval", path, "--set", "adds", f"evaluation.batch_size={size}", "--output", out]
        assert main(command) == 0
        rows = [
            row
            for file in Path(out, "adds/completions").glob("*.parquet")
            for row in pq.read_table(file).to_pylist()
        ]
        texts.append({(row["problem"], row["sample"]): row["completion"] for row in rows})
    assert texts[0] == texts[1]
    assert len(texts[0]) == 30


def test_precision_is_that_of_the_recipe(
    with_sets: Recipe, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(with_sets)
    entropy = {}
    for precision in ("float32", "bfloat16"):
        command = ["eval", path, "--set", "few", "--output", precision]
        assert main([*command, f"engine.precision={precision}"]) == 0
        assert f"float32 weights, {precision} arithmetic" in capsys.readouterr().out
        entropy[precision] = summary(Path(precision))["few"]["greedy"]["entropy"]
    assert entropy["float32"] != entropy["bfloat16"]
    assert entropy["float32"] == pytest.approx(entropy["bfloat16"], rel=0.1)


def test_it_goes_on_where_it_was(
    with_sets: Recipe, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(with_sets)
    command = ["eval", path, "--output", "out"]
    assert main(command) == 0
    whole = files(Path("out"))
    for chunk in sorted(Path("out/adds/completions").iterdir())[1:]:
        chunk.unlink()
    shutil.rmtree("out/few")
    Path("out/summary.json").unlink()
    capsys.readouterr()
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert files(Path("out")) == whole
    assert "adds: sampled" in shown
    assert "adds: greedy 6/6" not in shown
    assert main(command) == 0
    assert ": greedy" not in capsys.readouterr().out
    assert main([*command, "evaluation.sets.adds.k=[3]"]) == 0
    assert "pass@3" in summary(Path("out"))["adds"]["metrics"]


def test_ctrl_c_says_how_to_go_on(
    with_sets: Recipe,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rlent.launch.evaluate.Answerer.answer", interrupted)
    assert main(["eval", write(with_sets)]) == 130
    assert "The same command goes on" in capsys.readouterr().out


def test_other_settings_do_not_mix(
    with_sets: Recipe, write: Write, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(with_sets)
    command = ["eval", path, "--output", "out", "--set", "few"]
    assert main(command) == 0
    before = files(Path("out"))
    copied = shutil.copytree(tiny_folder, "copied")
    Path(copied, "model.safetensors").touch()
    capsys.readouterr()
    for change, named in (
        ("evaluation.seed=1", "seed"),
        ("evaluation.sets.few.data.seed=2", "problems"),
        ("evaluation.max_completion_length=5", "length"),
        ("rewards.math_answer.extract=boxed", "reward"),
        ("model.name=copied", "weights"),
    ):
        assert main([*command, change]) == 2
        message = capsys.readouterr().err
        assert message.startswith("command line: --output: ")
        assert f"another {named}" in message
        assert "name another folder" in message
    assert files(Path("out")) == before


# name: (recipe changes, arguments, parts of the message)
MISTAKES: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "nothing to evaluate": (
        {"evaluation": None},
        [],
        ["evaluation: the recipe does not say what to evaluate", "evaluation.sets"],
    ),
    "unknown set": ({}, ["--set", "ads"], ["--set", "held_out, adds, few", "did you mean: adds"]),
    "missing model": ({}, ["--checkpoint", "./nowhere"], ["command line: --checkpoint", "nowhere"]),
    "folder without model": ({}, ["--checkpoint", "empty"], ["--checkpoint", "holds no model"]),
    "samples below k": ({}, ["evaluation.sets.adds.samples=1"], ["evaluation.sets", "k must be"]),
    "unknown option of the trainer": (
        {},
        ["trainer.max_completion_lenght=9"],
        ["trainer.max_completion_lenght", "did you mean: max_completion_length"],
    ),
    "missing file of a set": (
        {},
        ["evaluation.sets.few.data.name=aditions.jsonl"],
        ["evaluation.sets.few.data.name", "additions.jsonl"],
    ),
    "template of a set": (
        {},
        ["evaluation.sets.few.data.chat_template=t.jinja"],
        ["evaluation.sets.few.data.chat_template", "one chat template"],
    ),
    "column that the reward misses": (
        {},
        ["evaluation.sets.few.reward={numeric: {answer_column: anser}}"],
        ["evaluation.sets.few.reward", "'anser'"],
    ),
    "reference that is no answer": (
        {},
        ["evaluation.sets.few.reward={multiple_choice: {}}"],
        ["evaluation.sets.few.reward", "row 0 of column 'answer'", "one of the letters"],
    ),
    "no room for a prompt": (
        {},
        ["evaluation.sets.few.max_completion_length=126"],
        ["evaluation.sets.few.data.too_long", "at most 2 tokens"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_prints_one_message_and_writes_nothing(
    mistake: str, with_sets: Recipe, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, arguments, parts = MISTAKES[mistake]
    Path("empty").mkdir()
    path = write(with_sets | changes)
    assert main(["eval", path, *arguments]) == 2
    message = capsys.readouterr().err
    for part in parts:
        assert part in message, message
    assert "Traceback" not in message
    assert message.startswith(("recipe.yaml:", "command line:"))
    assert not Path("runs").exists()


def test_a_mistake_in_a_set_stops_training_before_it_starts(
    with_sets: Recipe, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", write(with_sets), "evaluation.sets.few.data.prompt='{a}'"]) == 2
    assert "evaluation.sets.few.data.prompt" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["eval", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for part in (
        "--checkpoint C",
        "newest checkpoint",
        "goes on where it was",
        "torchrun",
        "K drawn",
    ):
        assert part in shown
    options = parse(["eval", "a.yaml", "x=1", "--set", "a", "--set", "b", "y=2"])
    assert (options.sets, options.overrides) == (["a", "b"], ["x=1", "y=2"])


@pytest.mark.slow
def test_checkpoints_runs_and_models(
    with_sets: Recipe, write: Write, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run logs for its sets what ``rlent eval`` finds of its checkpoints."""
    with_sets["trainer"]["learning_rate"] = 0.05
    path = write(with_sets)
    assert main(["train", path]) == 0
    assert "adds: 6 problems, a greedy completion and 4 drawn" in capsys.readouterr().out
    run = Path("runs/small")
    logged: dict[int, dict[str, float]] = {}
    for row in read_metrics(run / "metrics.jsonl"):
        logged.setdefault(row["step"], {}).update(row)
    steps = {
        name: [step for step, row in logged.items() if f"eval/{name}/pass@1" in row]
        for name in ("adds", "few")
    }
    assert steps == {"adds": [0, 4], "few": [0, 4]}
    assert [step for step, row in logged.items() if "held_out/score" in row] == [0, 2, 4]

    for step, checkpoint, label in (
        (0, str(tiny_folder), tiny_folder.name),
        (4, "runs/small/checkpoint-4", "small-checkpoint-4"),
        (4, "runs/small", "small-model"),
    ):
        assert main(["eval", path, "--checkpoint", checkpoint]) == 0
        found = summary(FOLDER / label)
        assert found["held_out"]["metrics"]["pass@1"]["value"] == logged[step]["held_out/score"]
        for name in ("adds", "few"):
            for metric, value in found[name]["metrics"].items():
                assert logged[step][f"eval/{name}/{metric}"] == value["value"]
            for kind in ("length", "truncated", "entropy"):
                expected = found[name]["greedy"][kind]
                assert logged[step][f"eval/{name}/greedy/{kind}"] == pytest.approx(expected)
        stored = run / f"evaluation/step-{step:06d}/adds"
        mine = pq.read_table(FOLDER / label / "adds/problems.parquet").to_pylist()
        assert pq.read_table(stored / "problems.parquet").to_pylist() == mine
        assert len(pq.read_table(stored / "completions.parquet")) == 30

    for change, key in (
        ("evaluation.problems=7", "evaluation.problems"),
        ("data.seed=1", "data.seed"),
        ("evaluation.data={name: additions.jsonl, style: plain}", "evaluation.data"),
    ):
        capsys.readouterr()
        command = ["eval", path, "--checkpoint", "runs/small", "--output", "other", change]
        assert main(command) == 2
        message = capsys.readouterr().err
        assert f"command line: {key}: runs/small held other problems out" in message
        assert main([*command, "--set", "few"]) == 0
        shutil.rmtree("other")

    shutil.rmtree(run / "model")
    capsys.readouterr()
    assert main(["eval", path, "--checkpoint", "runs/small/", "--set", "few"]) == 0
    assert f"model      {run}/checkpoint-4" in capsys.readouterr().out


def test_an_adapter_is_evaluated_on_its_model(
    with_sets: Recipe, write: Write, tiny_folder: Path
) -> None:
    """The adapter's folder, and the model with the adapter merged into its weights, give the same."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from tests.tiny import tiny_tokenizer

    base = AutoModelForCausalLM.from_pretrained(tiny_folder)
    model: Any = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"]))
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=2.0)
    model.save_pretrained("adapter")
    tiny_tokenizer().save_pretrained("adapter")
    model.merge_and_unload().save_pretrained("merged")
    tiny_tokenizer().save_pretrained("merged")
    path = write(with_sets)
    texts: dict[str, list[str]] = {}
    for checkpoint in ("adapter", "merged", str(tiny_folder)):
        command = ["eval", path, "--set", "few", "--checkpoint", checkpoint, "--output", "out"]
        assert main(command) == 0
        (chunk,) = Path("out/few/completions").iterdir()
        texts[checkpoint] = pq.read_table(chunk)["completion"].to_pylist()
        shutil.rmtree("out")
    assert texts["adapter"] == texts["merged"]
    assert texts["adapter"] != texts[str(tiny_folder)]


@pytest.mark.slow
def test_a_killed_evaluation_ends_as_the_one_that_was_not(with_sets: Recipe, write: Write) -> None:
    with_sets["evaluation"]["sets"]["adds"] |= {"samples": 8, "max_completion_length": 100}
    path = write(with_sets)
    assert main(["eval", path, "--output", "whole"]) == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "rlent", "eval", path, "--output", "cut"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: any(Path("cut/adds/completions").glob("sampled*.parquet")), process)
    process.kill()
    process.wait()
    assert not Path("cut/summary.json").exists()
    left = set(files(Path("whole"))) - set(files(Path("cut")))
    assert any("completions" in name for name in left)
    assert main(["eval", path, "--output", "cut"]) == 0
    assert files(Path("cut")) == files(Path("whole"))


@pytest.mark.slow
def test_sets_alone(with_sets: Recipe, write: Write) -> None:
    """Nothing held out, and the engine that generates the rollouts is another one."""
    with_sets["evaluation"] |= {"problems": 0}
    with_sets["trainer"]["max_steps"] = 1
    path = write(with_sets)
    assert main(["train", path, "rollout.engine=transformers"]) == 0
    rows = list(read_metrics(Path("runs/small/metrics.jsonl")))
    assert not any("held_out/score" in row for row in rows)
    assert [row["step"] for row in rows if "eval/adds/maj@4" in row] == [0, 1]
    assert main(["eval", path, "--output", "out"]) == 0
    assert list(summary(Path("out"))) == ["adds", "few"]


BUDGETS = {
    "levels": [1, 2],
    "summary_length": 2,
    "thinking_end": "so",
    "cut": "so",
    "answer_prefix": "=",
}


def test_every_set_at_every_budget(
    with_sets: Recipe, write: Write, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_sets["evaluation"]["budgets"] = BUDGETS
    assert main(["eval", write(with_sets), "--set", "held_out", "--set", "few"]) == 0
    folder = FOLDER / tiny_folder.name
    assert list(summary(folder)) == ["held_out@1", "held_out@2", "few@1", "few@2"]
    assert "few: pass@1 has a mean of" in capsys.readouterr().out
    curves = json.loads((folder / "budgets.json").read_text())
    assert {name: list(curves[name]["pass@1"]["at"]) for name in curves} == {
        "held_out": ["1", "2"],
        "few": ["1", "2"],
    }


def test_sets_at_budgets_are_evaluated_during_training(with_sets: Recipe, write: Write) -> None:
    with_sets["evaluation"]["budgets"] = BUDGETS
    assert main(["train", write(with_sets)]) == 0
    rows = list(read_metrics(Path("runs/small/metrics.jsonl")))
    steps = [row["step"] for row in rows if "eval/adds@2/pass@1" in row]
    assert steps == [0, 4]
    assert not [row for row in rows if "eval/adds/pass@1" in row]


def test_budgets_longer_than_an_answer_are_refused(
    with_sets: Recipe, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    with_sets["evaluation"]["budgets"] = BUDGETS | {"levels": [5]}
    assert main(["eval", write(with_sets)]) == 2
    assert "at least 9" in capsys.readouterr().err
