"""Generated tasks."""

import json
import subprocess
import sys
from importlib.machinery import ModuleSpec
from typing import Any

import pytest

from rlent.data import DataSection, load_rows, split_held_out, tasks
from rlent.errors import ConfigError

# A dependency of Reasoning Gym leaves its own files open while it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

SUMS = "reasoning_gym/chain_sum"
DIGITS = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}


def _error(name: str = SUMS, **section: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_rows(DataSection(name=name, **section))
    return caught.value


def test_rows_have_a_question_and_its_answer() -> None:
    rows = load_rows(DataSection(name=SUMS, size=30, options={"max_digits": 2}))
    assert rows.column_names == [
        "prompt",
        "answer",
        "question",
        "source_dataset",
        "source_index",
        "metadata",
    ]
    for row in rows.to_list():
        assert row["prompt"] == [{"role": "user", "content": row["question"]}]
        expression = json.loads(row["metadata"])["expression"]
        assert expression in row["question"]
        assert int(row["answer"]) == eval(expression)
        assert row["source_dataset"] == "chain_sum"


def test_the_default_size_is_a_thousand_different_questions() -> None:
    rows = load_rows(DataSection(name=SUMS))
    assert len(rows) == len(set(rows["question"])) == 1000


def test_a_template_over_the_question() -> None:
    rows = load_rows(DataSection(name=SUMS, size=2, prompt="{question} Think.", style="plain"))
    assert [row["prompt"] for row in rows] == [f"{row['question']} Think." for row in rows]


def test_rows_follow_the_seed() -> None:
    def questions(seed: int) -> list[str]:
        return load_rows(DataSection(name=SUMS, size=40, seed=seed))["question"][:]

    assert questions(5) == questions(5)
    # Reasoning Gym alone gives row i + 1 of seed 5 as row i of seed 6.
    assert len(set(questions(5)) & set(questions(6))) < 3


def test_held_out_rows_of_one_pool_share_no_question() -> None:
    rows = load_rows(DataSection(name=SUMS, size=150, options=DIGITS))
    split = split_held_out(rows, 50, seed=0)
    train, held_out = set(split.train["question"]), set(split.held_out["question"])
    assert (len(train), len(held_out), split.removed) == (100, 50, 0)
    assert not train & held_out


def test_too_few_different_questions() -> None:
    error = _error(size=500, options=DIGITS)
    assert error.key == "data.size"
    # Two single digits (1 to 9 and 0 are drawn alike) and two signs: 10 * 10 * 2.
    assert "only 200 different questions" in str(error)


def test_an_unknown_task_names_the_nearest() -> None:
    assert _error("reasoning_gym/chain_sums").nearest == SUMS


def test_an_unknown_option_names_the_nearest() -> None:
    error = _error(options={"max_term": 3})
    assert (error.key, error.nearest) == ("data.options.max_term", "max_terms")
    assert "seed" not in str(error.expected)


@pytest.mark.parametrize("options", [{"max_terms": 1}, {"max_terms": "three"}])
def test_bad_values_of_options(options: dict[str, Any]) -> None:
    error = _error(options=options)
    assert error.key == "data.options"
    assert "refuses its options" in str(error)


@pytest.mark.parametrize("option", ["seed", "size"])
def test_options_that_the_section_owns(option: str) -> None:
    error = _error(options={option: 3})
    assert f"set data.{option}" in str(error.remedy)


def test_a_generated_task_has_one_split() -> None:
    error = _error(split="test")
    assert (error.key, error.expected) == ("data.split", "train")


def test_a_task_without_reference_answers() -> None:
    assert "row 0: no answer" in str(_error("reasoning_gym/graph_color", size=2))


def test_tasks_that_do_not_follow_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    assert "to a file" in str(_error("reasoning_gym/codeio", size=2).remedy)
    error = _error("reasoning_gym/ransom_note", size=2)
    assert "PYTHONHASHSEED=0" in str(error.remedy)
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    assert len(load_rows(DataSection(name="reasoning_gym/ransom_note", size=2))) == 2


@pytest.mark.slow
def test_other_tasks_do_not_depend_on_the_hash_seed() -> None:
    script = (
        "from rlent.data import *\n"
        f"for name in ('{SUMS}', 'reasoning_gym/countdown', 'reasoning_gym/simple_equations'):\n"
        "    print(load_rows(DataSection(name=name, size=50)).to_list())\n"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) > 10_000


def test_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str) -> ModuleSpec | None:
        assert name == "reasoning_gym"
        return None

    monkeypatch.setattr(tasks, "find_spec", find_spec)
    assert "pip install 'rlent[quickstart]'" in str(_error())
