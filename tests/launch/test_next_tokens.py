"""``rlent next-tokens`` from the command line, and training on what it writes."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from rlent.config import load_recipe
from rlent.data.load import load_rows
from rlent.launch.cli import main
from rlent.launch.next_tokens import score_text
from tests.tiny import save_tiny_model, tiny_model, tiny_tokenizer

TEXTS = ["1 + 2 = 3 so the answer is 3", "what is 4 - 1 because then 3", "wait"]


def corpus(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "corpus.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_entropies_are_those_after_the_prefix() -> None:
    model, tokenizer = tiny_model().eval(), tiny_tokenizer()
    tokens = score_text(model, tokenizer, TEXTS[0], 100)
    words = TEXTS[0].split()
    assert [token.text for token in tokens] == words[1:]
    for place, token in enumerate(tokens, start=1):
        assert token.prefix.split() == words[:place]
        ids = tokenizer(token.prefix, add_special_tokens=False).input_ids
        with torch.no_grad():
            probs = model(torch.tensor([ids])).logits[0, -1].double().softmax(-1).tolist()
        expected = -sum(p * math.log(p) for p in probs)
        assert token.entropy == pytest.approx(expected, abs=1e-4)


def test_a_window_bounds_the_prefix() -> None:
    tokens = score_text(tiny_model().eval(), tiny_tokenizer(), TEXTS[0], 4)
    words = TEXTS[0].split()
    assert [token.text for token in tokens] == [*words[1:4], *words[5:8], words[9]]
    assert [len(token.prefix.split()) for token in tokens] == [1, 2, 3, 1, 2, 3, 1]


class Pieces:
    """Three tokens: a word, a blank, and a part of a character."""

    def __call__(self, text: str, **_: Any) -> Any:
        return type("Encoding", (), {"input_ids": [9, 9, 7, 8]})()

    def decode(self, ids: list[int]) -> str:
        return "".join({9: " a", 7: " ", 8: "\ufffd"}[number] for number in ids)


def test_blanks_and_parts_of_characters_are_not_asked_for() -> None:
    tokens = score_text(tiny_model().eval(), Pieces(), "a a", 10)
    assert [(token.prefix, token.text) for token in tokens] == [(" a", " a")]


def test_the_tasks_train_in_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_tiny_model(tmp_path / "model")
    file = corpus(tmp_path, [{"text": text} for text in TEXTS])
    output = tmp_path / "new" / "tasks.jsonl"
    command = ["next-tokens", str(file), "--model", str(model), "--steps", "3", "--prompts", "2"]
    assert main([*command, "-o", str(output), "--budget", "10", "--decay", "0.5"]) == 0
    assert "Wrote 6 tasks" in capsys.readouterr().out
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 0, 1, 1, 2, 2]
    assert [row["budget"] for row in rows[::2]] == [10, 7, 6]  # 10, 7.94 and 6.30
    assert {row["tier"] for row in rows} <= {"easy", "medium", "hard"}
    for row in rows:
        asked = [*row["prefix"].split(), row["answer"]]
        assert asked in [text.split()[: len(asked)] for text in TEXTS]

    recipe = {
        "model": {"name": str(model)},
        "data": {"name": str(output), "prompt": "{prefix}", "order": "source", "style": "plain"},
        "rewards": [
            {"exact": {"extract": "whole", "weight": 0.8}},
            {"budget_length": {"weight": 0.2}},
        ],
        "output_dir": str(tmp_path / "runs"),
        "trainer": {
            "max_steps": 3,
            "shuffle_dataset": False,
            "per_device_train_batch_size": 4,
            "num_generations": 2,
            "max_completion_length": 6,
            "save_strategy": "no",
        },
        "engine": {"precision": "float32"},
    }
    path = tmp_path / "mid.yaml"
    path.write_text(json.dumps(recipe))
    loaded = load_rows(load_recipe(path).data)
    assert list(loaded["budget"]) == [row["budget"] for row in rows]
    assert main(["train", str(path)]) == 0


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"text": TEXTS[0]}], {"--steps": "0"}, "--steps: must be at least 1"),
        ([{"text": TEXTS[0]}], {"--prompts": "0"}, "--prompts: must be at least 1"),
        ([{"text": TEXTS[0]}], {"--window": "1"}, "--window: must be at least 2"),
        ([{"text": TEXTS[0]}], {"--decay": "2"}, "decay must be in"),
        ([{"text": 1}], {}, "must hold a text"),
        ([{"other": "a"}], {}, "must hold a text"),
        ([{"text": "wait"}], {}, "0 tokens can be asked for"),
    ],
)
def test_mistakes(
    rows: list[dict[str, Any]],
    options: dict[str, str],
    message: str,
    tmp_path: Path,
    tiny_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = {
        "--steps": "2",
        "--prompts": "2",
        "--model": str(tiny_folder),
        "-o": str(tmp_path / "out"),
    }
    words = [word for pair in (given | options).items() for word in pair]
    assert main(["next-tokens", str(corpus(tmp_path, rows)), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = corpus(tmp_path, [{"text": TEXTS[0]}])
    command = ["--model", "m", "--steps", "1", "--prompts", "1", "-o", str(file)]
    assert main(["next-tokens", str(file), *command]) == 2
    assert "the file exists" in capsys.readouterr().err
    command[-1] = str(tmp_path / "out")
    assert main(["next-tokens", str(tmp_path / "none.jsonl"), *command]) == 2
    assert "does not exist" in capsys.readouterr().err
