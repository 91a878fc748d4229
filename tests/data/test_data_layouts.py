"""Files in the layouts of verl and TRL, written by the libraries that people write them with."""

import json
from pathlib import Path
from typing import Any

import pandas
import pytest
from datasets import Dataset

from rlent.data import DataSection, load_data, load_rows
from rlent.errors import ConfigError


def _verl_row(index: int) -> dict[str, Any]:
    """A row as verl's preprocessing of GSM8K writes it."""
    question = f"What is {index} + 1?"
    return {
        "data_source": "openai/gsm8k",
        "prompt": [{"role": "user", "content": f"{question} Let's think step by step."}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": str(index + 1)},
        "extra_info": {"split": "train", "index": index, "question": question, "answer": None},
    }


VERL = [_verl_row(index) for index in range(6)]
GROUND_TRUTH = "reward_model.ground_truth"


@pytest.fixture(params=["datasets", "pandas"])
def verl_file(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / "train.parquet"
    if request.param == "datasets":
        Dataset.from_list(VERL).to_parquet(path)
    else:
        pandas.DataFrame(VERL).to_parquet(path)
    return str(path)


def _by_index(rows: Dataset) -> list[dict[str, Any]]:
    return sorted(rows.to_list(), key=lambda row: row["extra_info"]["index"])


def test_verls_parquet(verl_file: str) -> None:
    rows = load_rows(DataSection(name=verl_file, answer=GROUND_TRUTH))
    assert rows.column_names[:2] == ["prompt", "answer"]
    assert _by_index(rows) == [{**row, "answer": str(i + 1)} for i, row in enumerate(VERL)]


def test_a_template_over_a_field_of_verls_rows(verl_file: str) -> None:
    section = DataSection(
        name=verl_file,
        answer=GROUND_TRUTH,
        prompt="{extra_info.question} ({data_source}, {{extra_info.question}})",
        style="plain",
        columns={"index": "extra_info.index", "source": "data_source"},
    )
    rows = sorted(load_rows(section).to_list(), key=lambda row: row["index"])
    assert rows == [
        {
            "prompt": f"What is {i} + 1? (openai/gsm8k, {{extra_info.question}})",
            "answer": str(i + 1),
            "index": i,
            "source": "openai/gsm8k",
        }
        for i in range(6)
    ]


def test_verls_layout_is_recognised_where_the_answer_is_not_found(verl_file: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_rows(DataSection(name=verl_file))
    assert caught.value.key == "data.answer"
    assert caught.value.remedy == "set answer: reward_model.ground_truth"


def test_a_misspelt_field_names_the_nearest(verl_file: str) -> None:
    for section in ({"answer": "reward_model.ground_trut"}, {"prompt": "{extra_info.questio}"}):
        with pytest.raises(ConfigError) as caught:
            load_rows(DataSection(**{"name": verl_file, "answer": GROUND_TRUTH, **section}))
        assert caught.value.nearest in (GROUND_TRUTH, "extra_info.question")


def test_a_missing_parent_of_a_field_is_a_missing_answer(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    Dataset.from_list([VERL[0], {**VERL[1], "reward_model": None}]).to_parquet(path)
    with pytest.raises(ConfigError, match=r"rows\.parquet: row 1: no answer"):
        load_rows(DataSection(name=str(path), answer=GROUND_TRUTH))


def test_rows_of_several_parquet_files_have_their_files_places(tmp_path: Path) -> None:
    for part in range(3):
        Dataset.from_list(VERL[2 * part : 2 * part + 2]).to_parquet(tmp_path / f"{part}.parquet")
    data = load_data(DataSection(name=str(tmp_path / "*.parquet"), answer=GROUND_TRUTH, seed=2))
    for row, place in zip(data.rows.to_list(), data.places, strict=True):
        index = row["extra_info"]["index"]
        assert place == f"{tmp_path}/{index // 2}.parquet: row {index % 2}"


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "folder"])
def test_trls_prompts_as_text_and_as_conversation(kind: str, tmp_path: Path) -> None:
    system = {"role": "system", "content": "Answer briefly."}
    texts = [{"prompt": f"The sky is {i}", "ground_truth": str(i)} for i in range(4)]
    talks = [
        {"prompt": [system, {"role": "user", "content": row["prompt"]}], "ground_truth": i}
        for i, row in enumerate(texts)
    ]
    for name, written in (("text", texts), ("talk", talks)):
        path = tmp_path / f"{name}.{kind}"
        table = Dataset.from_list(written)
        {"jsonl": table.to_json, "parquet": table.to_parquet, "folder": table.save_to_disk}[kind](
            path
        )
        style = "plain" if name == "text" else "chat"
        rows = load_rows(DataSection(name=str(path), answer="ground_truth", style=style)).to_list()
        rows.sort(key=lambda row: row["answer"])
        assert [row["prompt"] for row in rows] == [row["prompt"] for row in written]
        assert [row["answer"] for row in rows] == ["0", "1", "2", "3"]


def test_a_conversation_under_another_name(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "Why?"}]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": talk, "chosen": "a"}) + "\n")
    name = str(tmp_path / "rows.jsonl")
    rows = load_rows(DataSection(name=name, prompt="{messages}", answer=None, system="S"))
    assert rows.to_list() == [{"prompt": [{"role": "system", "content": "S"}, *talk]}]
    with pytest.raises(ConfigError, match="chat messages in the column 'messages'"):
        load_rows(DataSection(name=name, prompt="{messages}!", answer=None))


def test_a_column_alone_in_a_template_is_text_where_it_is_no_conversation(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"number": 7, "answer": 7}\n')
    rows = load_rows(DataSection(name=str(tmp_path / "rows.jsonl"), prompt="{number}"))
    assert rows[0]["prompt"] == [{"role": "user", "content": "7"}]


def test_a_column_with_dots_in_its_name_comes_before_a_field(tmp_path: Path) -> None:
    row = {"prompt": "a", "x.y": 1, "x": {"y": 2, "z": 3}}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    section = DataSection(
        name=str(tmp_path / "rows.jsonl"), answer="x.y", prompt="{prompt}{x.y}{x.z}", style="plain"
    )
    assert load_rows(section).to_list() == [
        {"prompt": "a13", "answer": "1", "x.y": 1, "x": row["x"]}
    ]


@pytest.mark.parametrize(
    ("columns", "key", "part"),
    [
        ({"level": "levl"}, "data.columns.level", "no column 'levl'"),
        ({"answer": "level"}, "data.columns.answer", "reads in its own way"),
        ({"completions": "level"}, "data.columns.completions", "reads in its own way"),
    ],
)
def test_columns_that_cannot_be_kept(
    columns: dict[str, str], key: str, part: str, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "answer": "b", "level": 1}\n')
    with pytest.raises(ConfigError) as caught:
        load_rows(DataSection(name=str(tmp_path / "rows.jsonl"), columns=columns))
    assert caught.value.key == key
    assert part in caught.value.problem


def test_no_columns_but_prompt_and_answer(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "answer": "b", "level": 1}\n')
    rows = load_rows(DataSection(name=str(tmp_path / "rows.jsonl"), columns={}))
    assert rows.column_names == ["prompt", "answer"]
