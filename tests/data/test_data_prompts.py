"""Columns of the source become prompts and answers."""

from collections.abc import Callable
from typing import Any

import pytest
from datasets import Dataset

from rlent.data import DataSection, load_rows
from rlent.errors import ConfigError

Write = Callable[[str, list[dict[str, Any]]], str]
CHAT = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Yes?"}]


@pytest.fixture
def load(write_jsonl: Write) -> Callable[..., Dataset]:
    def load(rows: list[dict[str, Any]], **section: Any) -> Dataset:
        return load_rows(DataSection(name=write_jsonl("rows.jsonl", rows), **section))

    return load


@pytest.fixture
def failing(load: Callable[..., Dataset]) -> Callable[..., ConfigError]:
    def failing(rows: list[dict[str, Any]], **section: Any) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            load(rows, **section)
        return caught.value

    return failing


Load = Callable[..., Dataset]
Failing = Callable[..., ConfigError]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"problem": "c", "question": "b", "prompt": "a"}, "a"),
        ({"problem": "c", "question": "b"}, "b"),
        ({"problem": "c"}, "c"),
    ],
)
def test_the_default_prompt_column(row: dict[str, str], text: str, load: Load) -> None:
    rows = load([{**row, "answer": "1"}], style="plain")
    assert rows[0]["prompt"] == text


def test_no_default_prompt_column_lists_the_columns(failing: Failing) -> None:
    error = failing([{"text": "a", "answer": "1"}])
    assert error.key == "data.prompt"
    assert "text, answer" in str(error)


def test_styles_and_system_message(load: Load) -> None:
    rows = [{"prompt": "Why?", "answer": "1"}]
    assert load(rows, style="plain")[0]["prompt"] == "Why?"
    assert load(rows)[0]["prompt"] == [{"role": "user", "content": "Why?"}]
    assert load(rows, system="Be brief.")[0]["prompt"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
    ]


def test_a_system_message_needs_chat(failing: Failing) -> None:
    error = failing([{"prompt": "Why?", "answer": "1"}], system="Be brief.", style="plain")
    assert error.key == "data.system"
    assert "data.style: chat" in str(error)


def test_a_template_sees_every_column(load: Load) -> None:
    row = {"prompt": "raw", "nums": [1, 2], "target": 3, "answer": "1+2"}
    rows = load([row], prompt="Make {target} from {nums}: {{x}} {target:03d}", style="plain")
    assert rows[0] == {
        "prompt": "Make 3 from [1, 2]: {x} 003",
        "nums": [1, 2],
        "target": 3,
        "answer": "1+2",
    }


def test_chat_prompts_are_kept(load: Load) -> None:
    rows = [{"prompt": CHAT, "answer": "1"}]
    assert load(rows)[0]["prompt"] == CHAT
    system = {"role": "system", "content": "S"}
    assert load(rows, system="S")[0]["prompt"] == [system, *CHAT]


def test_chat_prompts_refuse_what_does_not_fit(failing: Failing) -> None:
    rows = [{"prompt": CHAT, "answer": "1"}]
    assert "data.style: chat" in str(failing(rows, style="plain"))
    assert "chat messages" in str(failing(rows, prompt="Answer: {prompt}"))
    with_system = [{"prompt": [{"role": "system", "content": "S"}, *CHAT], "answer": "1"}]
    assert failing(with_system, system="T").key == "data.system"


@pytest.mark.parametrize(
    "prompt", [7, None, "", " \n", [], [{"text": "a"}], [{"content": "a"}], ["a", "b"]]
)
def test_unusable_prompts_name_the_row(prompt: object, failing: Failing) -> None:
    error = failing([{"prompt": prompt, "answer": "1"}])
    assert error.key == "data.prompt"
    assert "rows.jsonl:1: " in str(error)


@pytest.mark.parametrize(
    ("template", "part"),
    [
        ("Q: {promt}", "did you mean: prompt"),
        ("Q: {prompt.text}", "no column"),
        ("Q: {prompt} {}", "{{ and }}"),
        ("Q: {prompt} {0}", "no column"),
        ("Q: {prompt:{width}}", "'{width}'"),
        ("Q: {prompt", "cannot be read"),
        ("Q: prompt}", "{{ and }}"),
        ("What is it?", "inserts no column"),
        (r"{prompt} Write \boxed{answer}.", r"'\boxed{answer}' has single braces"),
        ("{prompt:d}", "does not fit"),
    ],
)
def test_templates_that_cannot_work(template: str, part: str, failing: Failing) -> None:
    error = failing([{"prompt": "Why?", "answer": "1"}], prompt=template)
    assert error.key == "data.prompt"
    assert part in str(error)


def test_a_template_needs_a_value_in_every_row(failing: Failing) -> None:
    rows = [{"prompt": "a", "hint": None, "answer": "1"}]
    assert "rows.jsonl:1: no value in the column 'hint'" in str(
        failing(rows, prompt="{prompt}{hint}")
    )


def test_answers_are_the_text_of_scalars(load: Load) -> None:
    for value, text in [(42, "42"), (2.5, "2.5"), ("#### 42", "#### 42"), (True, "True")]:
        rows = load([{"prompt": "a", "solution": value}], answer="solution")
        assert rows[0]["answer"] == text
        assert rows[0]["solution"] == value


@pytest.mark.parametrize("value", [["1", "2"], {"x": 1}])
def test_answers_that_are_no_single_text(value: object, failing: Failing) -> None:
    error = failing([{"prompt": "a", "answer": value}])
    assert error.key == "data.answer"
    assert "rows.jsonl:1: " in str(error)


def test_an_unknown_answer_column_names_the_nearest(failing: Failing) -> None:
    error = failing([{"prompt": "a", "answers": "1"}])
    assert (error.key, error.nearest) == ("data.answer", "answers")


def test_other_columns_stay_and_those_of_trl_go(load: Load) -> None:
    row = {"prompt": "a", "answer": "1", "level": 3, "tags": ["x"], "meta": {"a": 1}}
    rows = load([{**row, "messages": CHAT, "completions": ["b"]}], style="plain")
    assert rows[0] == row
