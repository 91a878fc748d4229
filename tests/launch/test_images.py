"""A recipe whose rows have pictures: checked, shown, trained, resumed; and what is refused in it."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from rlent.launch.cli import main
from tests.tiny import save_tiny_model
from tests.tiny_vlm import picture, tiny_processor, tiny_vlm

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)]
Write = Callable[..., str]


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vlm")
    tiny_vlm("llava").save_pretrained(folder)
    tiny_processor("llava").save_pretrained(folder)
    return folder


@pytest.fixture
def write(tmp_path: Path, vlm: Path) -> Write:
    """A recipe over twelve rows, which ask the same of different pictures; sections are replaced by those given."""
    (tmp_path / "seen").mkdir()
    rows = []
    for number in range(12):
        picture((20 * number, *COLOURS[number % 4][1:])).save(tmp_path / f"seen/{number}.png")
        question = "1 + 1 = <image> so" if number % 2 else "what is <image> <image>"
        seen = [f"seen/{number}.png"] * question.count("<image>")
        rows.append({"question": question, "answer": "2", "seen": seen})
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def written(**sections: Any) -> str:
        recipe: dict[str, Any] = {
            "name": "pictures",
            "output_dir": str(tmp_path / "runs"),
            "model": {"name": str(vlm)},
            "data": {"name": str(data), "image": "seen"},
            "rewards": ["format"],
            "interventions": ["forking_tokens"],
            "rollout": {"engine": "transformers"},
            "trainer": {
                "per_device_train_batch_size": 4,
                "num_generations": 4,
                "max_steps": 2,
                "save_steps": 1,
                "max_completion_length": 8,
                "learning_rate": 0.01,
                "lr_scheduler_type": "constant",
            },
            "engine": {"precision": "float32"},
            "evaluation": {"problems": 3, "every": 1, "batch_size": 2},
        }
        recipe |= sections
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in recipe.items() if value}))
        return str(path)

    return written


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_it_is_checked_trained_and_resumed(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], vlm: Path
) -> None:
    path = write(interventions=["forking_tokens", {"entropy_bonus": {"weight": 0.1}}])
    assert main(["check", path]) == 0
    plan = capsys.readouterr().out
    # Without its picture, every second problem would be the same one.
    assert "9 problems" in plan
    assert "held out   3 problems" in plan
    assert not (tmp_path / "runs").exists()
    assert main(["train", path, "trainer.max_steps=3"]) == 0
    assert "problem  user: " in (shown := capsys.readouterr().out)
    assert "<image>" in shown
    whole = tmp_path / "runs" / "pictures"
    losses = [row for row in metrics(whole) if "loss" in row]
    assert len(losses) == 3
    assert all(math.isfinite(row["loss"]) and row["grad_norm"] > 0 for row in losses)
    assert sum("held_out/score" in row for row in metrics(whole)) == 4
    trained, given = (load_file(folder / "model.safetensors") for folder in (whole / "model", vlm))
    assert trained.keys() == given.keys()
    moved = [name for name in given if not torch.equal(trained[name], given[name])]
    assert any("vision" in name for name in moved)
    assert any("language_model" in name for name in moved)
    assert (whole / "model" / "processor_config.json").is_file()

    # What was learnt before the checkpoint is not lost: the third step is that of the run that was not stopped.
    assert main(["train", path, "name=stopped"]) == 0
    assert main(["train", path, "name=stopped", "trainer.max_steps=3", "--resume"]) == 0
    resumed = load_file(tmp_path / "runs" / "stopped" / "model" / "model.safetensors")
    for name, weight in trained.items():
        assert torch.equal(resumed[name], weight), name


def test_its_rows_are_shown(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", write(evaluation=None), "--rows", "1"]) == 0
    page = capsys.readouterr().out
    assert "columns    prompt, answer, question, images" in page
    # <user>, five words or two, four tokens for each of one picture or two, <assistant>
    assert "tokens: min 11, median 11, p95 12, max 12" in page
    assert "  | <user> " in page
    assert "/seen/" in page


TRAINER = {"per_device_train_batch_size": 4, "num_generations": 4, "max_completion_length": 8}
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "rlent's engine": (
        {"rollout": None},
        "rollout.engine: completions come from rlent's own engine",
        "rollout.engine: transformers, or vllm",
    ),
    "parts of micro-batches": (
        {"trainer": TRAINER | {"tokens_per_micro_batch": 40}},
        "trainer.tokens_per_micro_batch: has no effect with pictures",
        "per_device_train_batch_size",
    ),
    "sorting": (
        {"trainer": TRAINER | {"sort_by_length": True}},
        "trainer.sort_by_length: has no effect with pictures",
        "remove it",
    ),
    "idle rollouts": (
        {"trainer": TRAINER | {"skip_idle_rollouts": False}},
        "trainer.skip_idle_rollouts: has no effect with pictures",
        "remove it",
    ),
    "giving up": (
        {"interventions": ["forking_tokens", "dynamic_sampling"]},
        "interventions.1.dynamic_sampling: completions with pictures cannot be given up",
        "remove it",
    ),
    "learning from prompts": (
        {"interventions": ["next_token_loss"]},
        "interventions.0.next_token_loss: prompts with pictures cannot be learnt from",
        "remove it",
    ),
    "sets": (
        {"evaluation": {"problems": 3, "sets": {"more": {"data": {"name": "rows.jsonl"}}}}},
        "evaluation.sets: sets are answered by rlent's own engine",
        "evaluation.problems",
    ),
    "held out without": (
        {"evaluation": {"problems": 3, "data": {"name": "rows.jsonl"}}},
        "evaluation.data.image: training rows have pictures, and these have none",
        "in both sections",
    ),
    **{
        f"evaluation.{name}": (
            {"evaluation": {"problems": 3, name: value, **further}},
            f"evaluation.{name}: has no effect with pictures",
            "remove it",
        )
        for name, value, further in (
            ("samples", 4, {}),
            ("temperature", 0.7, {}),
            ("top_p", 0.9, {}),
            ("seed", 3, {}),
            ("budgets", {"levels": [4], "summaries": 1, "summary_length": 2}, {}),
        )
    },
    "held out with": (
        {
            "data": {"name": "rows.jsonl"},
            "evaluation": {"problems": 3, "data": {"name": "rows.jsonl", "image": "seen"}},
        },
        "evaluation.data.image: these rows have pictures, and training rows none",
        "in both sections",
    ),
    "sets with": (
        {
            "data": {"name": "rows.jsonl"},
            "evaluation": {"sets": {"more": {"data": {"name": "rows.jsonl", "image": "seen"}}}},
        },
        "evaluation.sets.more.data.image: these rows have pictures, and training rows none",
        "in both sections",
    ),
}


@pytest.mark.parametrize(("sections", "problem", "remedy"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(
    write: Write,
    sections: dict[str, Any],
    problem: str,
    remedy: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", write(**sections)]) == 2
    message = capsys.readouterr().err
    assert problem in message
    assert remedy in message
    assert not (tmp_path / "runs").exists()


def test_a_model_of_text_alone_is_refused(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(model={"name": str(save_tiny_model(tmp_path / "text"))})
    for command in ("check", "data"):
        assert main([command, path]) == 2
        assert "model.name: a model of text alone (llama) takes no pictures" in (
            capsys.readouterr().err
        )


def test_commands_that_read_text_alone(
    write: Write, tmp_path: Path, vlm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write()
    assert main(["eval", path]) == 2
    message = capsys.readouterr().err
    assert "data.image: rlent eval reads text alone" in message
    assert "answered with pictures during training" in message
    rows = str(tmp_path / "rows.jsonl")
    assert main(["inspect", str(vlm), "data.image=seen", "--prompts", rows]) == 2
    assert "data.image: rlent inspect reads text alone" in capsys.readouterr().err
    answers = write(
        loss={"diversity_or_precision": {"beta": -0.25}},
        rewards=None,
        interventions=None,
        rollout=None,
        evaluation=None,
        trainer=None,
    )
    assert main(["check", answers]) == 2
    assert "data.image: a loss over given answers reads text alone" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("column", ["image", "images"])
def test_columns_that_trl_takes_for_pictures(
    column: str, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "others.jsonl"
    rows = [{"question": f"{n} + 1 =", "answer": "2", column: "a.png"} for n in range(8)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = {"name": str(save_tiny_model(tmp_path / "text"))}
    path = write(model=model, data={"name": str(data)}, rollout=None, evaluation=None)
    assert main(["check", path]) == 2
    message = capsys.readouterr().err
    assert f"the column {column} holds pictures for TRL, and data.image names none" in message
    assert f"data.image: {column}" in message
    assert main(["check", path, "data.columns={}"]) == 0
