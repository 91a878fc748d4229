"""Recipes with a loss over given answers: what they refuse, what they read, and ``rlent check``."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rlent.config import dump_recipe, load_recipe
from rlent.errors import ConfigError
from rlent.launch.cli import main
from rlent.launch.loss_run import prepare_loss
from tests.tiny import save_tiny_model

PAIR = {"prompt": "what is 1 + 2 ?", "chosen": " so 3", "rejected": " hence the answer is 4"}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / "model")
    write_rows([{**PAIR, "prompt": f"what is 1 + {i} ?"} for i in range(8)])
    path = tmp_path / "my.yaml"
    path.write_text(
        "model: {name: model}\n"
        "data: {name: rows.jsonl, style: plain}\n"
        "loss: {tdpo: {variant: 2}}\n"
        "trainer: {max_steps: 2, per_device_train_batch_size: 4}\n"
        "engine: {precision: float32}\n"
    )
    return path


def write_rows(rows: list[dict[str, Any]]) -> None:
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def prepared(recipe: Path, *overrides: str) -> Any:
    return prepare_loss(load_recipe(recipe, overrides), Path("runs/my"))


def test_a_loss_survives_the_resolved_recipe(recipe: Path) -> None:
    loaded = load_recipe(recipe)
    Path("again.yaml").write_text(dump_recipe(loaded))
    assert load_recipe("again.yaml") == loaded


def test_check_shows_the_plan_and_writes_nothing(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(recipe)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"rows.jsonl: 8 rows of chosen and rejected, at most \d+ tokens", shown)
    assert "TDPO(variant=2" in shown
    assert not Path("runs").exists()


@pytest.mark.slow
def test_train_and_resume(recipe: Path) -> None:
    saving = ["trainer.save_steps=1", "trainer.save_strategy=steps"]
    assert main(["train", str(recipe), *saving]) == 0
    assert Path("runs/my/checkpoint-1").is_dir()
    lines = Path("runs/my/metrics.jsonl").read_text().splitlines()
    assert main(["train", str(recipe), *saving, "trainer.max_steps=3", "--resume"]) == 0
    after = Path("runs/my/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["loss"] for line in after if '"loss"' in line][:2] == [
        json.loads(line)["loss"] for line in lines if '"loss"' in line
    ]
    assert Path("runs/my/checkpoint-3").is_dir()


@pytest.mark.parametrize(
    ("overrides", "key", "message"),
    [
        (["rewards=[math_answer]"], "rewards", "has no effect with the loss tdpo"),
        (["interventions=[forking_tokens]"], "interventions", "has no effect"),
        (["rollout.max_live=3"], "rollout", "has no effect"),
        (["evaluation={}"], "evaluation", "rlent eval"),
        (["loss={tdop: {}}"], "loss.tdop", "did you mean: tdpo"),
        (["loss={tdpo: {bta: 1}}"], "loss.tdpo.bta", "did you mean: beta"),
        (["loss={tdpo: {beta: 0}}"], "loss.tdpo.beta", "must be positive"),
        (["loss={cdpo: {positive: model}}"], "loss.cdpo.negative", "required"),
        (["trainer.learning_rat=1"], "trainer.learning_rat", "did you mean: learning_rate"),
        (["trainer.num_generations=4"], "trainer.num_generations", "unknown key"),
        (["trainer.beta=0.2"], "trainer.beta", "not used by rlent"),
        (["trainer.bf16=true"], "trainer.bf16", "engine.precision"),
        (["engine.deepspeed=nowhere.json"], "engine.deepspeed", "no such file"),
        (["trainer.deepspeed=zero2.json"], "trainer.deepspeed", "engine.zero"),
        (["data.answer=rejected"], "data.answer", "have no effect"),
        (["data.columns={chosen: prompt}"], "data.columns", "no column 'rejected'"),
        (["trainer.max_length=8"], "data.too_long", "8 of 8 rows are longer than 8 tokens"),
        (
            [
                "loss={align_distil: {dpo_model: model, reverse_model: ./nowhere}}",
                "data.columns={completion: chosen}",
            ],
            "loss.align_distil.reverse_model",
            "nowhere",
        ),
    ],
)
def test_what_would_have_no_effect_or_does_not_exist_is_refused(
    recipe: Path, overrides: list[str], key: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        prepared(recipe, *overrides)
    assert caught.value.key == key
    assert message in str(caught.value)


def test_rows_that_are_too_long_can_be_dropped(recipe: Path) -> None:
    long = {**PAIR, "prompt": "what is 9 ?", "rejected": " so" * 200}
    write_rows([PAIR, long])
    with pytest.raises(ConfigError, match="1 of 2 rows are longer than 128 tokens"):
        prepared(recipe)
    answers = prepared(recipe, "data.too_long=drop").answers
    assert (len(answers.rows), answers.dropped) == (1, 1)


def test_chat_prompts_get_an_assistants_answers(recipe: Path) -> None:
    row = prepared(recipe, "data.style=chat").answers.rows[0]
    assert row["prompt"][0]["role"] == "user"
    assert row["chosen"] == [{"role": "assistant", "content": " so 3"}]


def test_columns_can_be_exchanged(recipe: Path) -> None:
    row = prepared(recipe, "data.columns={chosen: rejected, rejected: chosen}").answers.rows[0]
    assert (row["chosen"], row["rejected"]) == (PAIR["rejected"], PAIR["chosen"])


def test_a_completion_or_a_text_is_learnt(recipe: Path) -> None:
    loss = "loss=diversity_or_precision"
    rows = prepared(recipe, loss, "data.columns={completion: chosen}").answers.rows
    assert rows.column_names == ["prompt", "completion"]
    write_rows([{"text": "so the answer is 3"}])
    rows = prepared(recipe, loss, "data.prompt='{text}'").answers.rows
    assert rows.to_list() == [{"text": "so the answer is 3"}]
    write_rows([PAIR])
    with pytest.raises(ConfigError, match="no column 'completion'"):
        prepared(recipe, loss)


def test_an_answer_must_be_text(recipe: Path) -> None:
    write_rows([{**PAIR, "chosen": "  "}])
    with pytest.raises(ConfigError, match="no usable answer in the column 'chosen'"):
        prepared(recipe)
