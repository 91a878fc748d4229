"""The small task and its model, as recipes name them."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

import rlent.small
from rlent.config import load_recipe
from rlent.data import DataSection, load_rows, resolve_model, small, split_held_out
from rlent.errors import ConfigError

ROOT = Path(__file__).parents[2]


def rows_error(**section: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_rows(DataSection(name="small/arithmetic", **section))
    return caught.value


def untrained(folder: Path, *, steps: int) -> None:
    raise AssertionError("trained again")


def test_rows_have_a_question_and_its_answer() -> None:
    rows = load_rows(DataSection(name="small/arithmetic", style="plain"))
    assert rows.column_names == ["prompt", "answer", "question"]
    assert len(rows) == len(set(rows["question"])) == 1000
    for row in rows.to_list():
        assert row["prompt"] == row["question"]
        start, *words, _ = row["question"].split()
        assert len(words) == 2 * 4
        value = int(start)
        for operator, operand in zip(words[::2], words[1::2], strict=True):
            value = {"+": value + int(operand), "-": value - int(operand)}.get(
                operator, value * int(operand)
            )
        assert row["answer"] == str(value % 10)


def test_chat_prompts() -> None:
    row = load_rows(DataSection(name="small/arithmetic", size=1))[0]
    assert row["prompt"] == [{"role": "user", "content": row["question"]}]


@pytest.mark.parametrize("operations", [3, 5])
def test_the_number_of_operations(operations: int) -> None:
    section = DataSection(name="small/arithmetic", size=50, options={"operations": operations})
    assert {len(text.split()) for text in load_rows(section)["question"]} == {2 * operations + 2}


def test_rows_follow_the_seed() -> None:
    def questions(seed: int) -> list[str]:
        return load_rows(DataSection(name="small/arithmetic", size=40, seed=seed))["question"][:]

    assert questions(5) == questions(5)
    assert len(set(questions(5)) & set(questions(6))) < 3


def test_there_are_thousands_of_questions_to_split() -> None:
    rows = load_rows(DataSection(name="small/arithmetic", size=10_000, options={"operations": 3}))
    split = split_held_out(rows, 500, seed=0)
    train, held_out = set(split.train["question"]), set(split.held_out["question"])
    assert (len(train), len(held_out), split.removed) == (9500, 500, 0)
    assert not train & held_out


@pytest.mark.parametrize("operations", [2, 6, 4.0, "four", None])
def test_bad_numbers_of_operations(operations: object) -> None:
    error = rows_error(options={"operations": operations})
    assert (error.key, error.expected) == ("data.options.operations", "3 to 5")
    assert error.given == operations


def test_an_unknown_option_names_the_nearest() -> None:
    error = rows_error(options={"operation": 4})
    assert (error.key, error.nearest) == ("data.options.operation", "operations")


def test_a_generated_task_has_one_split() -> None:
    assert rows_error(split="test").key == "data.split"


def test_a_folder_of_the_same_name_is_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small").mkdir()
    Path("small/rows.jsonl").write_text('{"prompt": "1 + 1 =", "answer": 2}\n')
    assert load_rows(DataSection(name="small/rows.jsonl"))["answer"][:] == ["2"]


def test_the_model_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small.small_model(cache_dir=tmp_path, steps=1)
    assert folder.parent == tmp_path / "models"
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]
    assert AutoModelForCausalLM.from_pretrained(folder).config.num_hidden_layers == 3
    assert AutoTokenizer.from_pretrained(folder).eos_token == "<eos>"
    monkeypatch.setattr(small, "write_small_model", untrained)
    assert resolve_model("small-arithmetic", cache_dir=tmp_path) == str(folder)
    monkeypatch.setenv("RLENT_CACHE", str(tmp_path))
    assert resolve_model("small-arithmetic") == str(folder)


def test_other_code_gives_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def write(folder: Path, *, steps: int) -> None:
        written.append(folder)
        folder.mkdir()
        for file in ("config.json", "generation_config.json", "model.safetensors"):
            (folder / file).write_text("{}")
        (folder / "tokenizer.json").write_text("{}")

    monkeypatch.setattr(small, "write_small_model", write)
    first = small.small_model(cache_dir=tmp_path)
    assert small.small_model(cache_dir=tmp_path) == first
    assert len(written) == 1
    shutil.copytree(rlent.small.__path__[0], tmp_path / "changed")
    with (tmp_path / "changed" / "task.py").open("a") as file:
        file.write("QUICK_RATE = 0.2\n")
    monkeypatch.setattr(rlent.small, "__path__", [str(tmp_path / "changed")])
    assert small.small_model(cache_dir=tmp_path) != first
    assert len(written) == 2


def test_training_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(folder: Path, *, steps: int) -> None:
        folder.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(small, "write_small_model", half)
    with pytest.raises(KeyboardInterrupt):
        small.small_model(cache_dir=tmp_path)
    assert list((tmp_path / "models").iterdir()) == []


def test_an_incomplete_folder_is_not_used(tmp_path: Path) -> None:
    folder = small.small_model(cache_dir=tmp_path, steps=1)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"lacks model\.safetensors"):
        small.small_model(cache_dir=tmp_path)


def test_it_has_no_revisions() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_model("small-arithmetic", revision="v1")
    assert caught.value.key == "model.revision"


def test_the_shipped_recipe_leaves_room_for_every_working() -> None:
    recipe = load_recipe(ROOT / "recipes" / "small" / "grpo.yaml")
    assert recipe.model.name == small.MODEL
    assert recipe.data.name == small.TASK
    longest = 8 * recipe.data.options["operations"] + 1
    assert recipe.trainer["max_completion_length"] >= longest
