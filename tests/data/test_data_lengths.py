"""Prompts that leave no room for a completion."""

from typing import Any

import pytest
from datasets import Dataset

from rlent.data import check_prompt_lengths
from rlent.errors import ConfigError


class Words:
    """A tokenizer with one token per word; its chat template adds two per message and one."""

    chat_template: str | None = "template"

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": list(range(len(text.split())))}

    def apply_chat_template(self, messages: list[dict[str, str]], **how: Any) -> dict[str, Any]:
        assert how == {"add_generation_prompt": True, "tokenize": True, "return_dict": True}
        words = sum(len(message["content"].split()) + 2 for message in messages)
        return {"input_ids": list(range(words + 1)), "attention_mask": [1] * (words + 1)}


def _words(count: int) -> str:
    return " ".join(["word"] * count)


def _plain(*counts: int) -> Dataset:
    return Dataset.from_dict({"prompt": [_words(count) for count in counts]})


def _chat(*counts: int) -> Dataset:
    return Dataset.from_dict(
        {"prompt": [[{"role": "user", "content": _words(count)}] for count in counts]}
    )


def test_prompts_that_just_fit() -> None:
    rows = _plain(3, 10, 7)
    found = check_prompt_lengths(rows, Words(), 30, 20)
    assert found.rows is rows
    assert (found.dropped, found.longest) == (0, 10)


def test_the_chat_template_counts() -> None:
    assert check_prompt_lengths(_chat(7), Words(), 30, 20).longest == 10
    with pytest.raises(ConfigError):
        check_prompt_lengths(_chat(8), Words(), 30, 20)


def test_a_long_prompt_is_an_error_that_says_everything() -> None:
    with pytest.raises(ConfigError) as caught:
        check_prompt_lengths(_plain(3, 12, 14, 9), Words(), 30, 20)
    text = str(caught.value)
    assert "2 of 4 prompts are too long" in text
    assert "row 2 with 14 tokens: 'word word" in text
    assert "at most 10 tokens" in text
    assert "data.too_long: drop" in text
    assert "trainer.max_completion_length" in text


def test_long_prompts_are_dropped_and_counted() -> None:
    found = check_prompt_lengths(_plain(3, 12, 9, 14), Words(), 30, 20, too_long="drop")
    assert [len(prompt.split()) for prompt in found.rows["prompt"]] == [3, 9]
    assert (found.dropped, found.longest) == (2, 9)


def test_dropping_must_leave_a_row() -> None:
    with pytest.raises(ConfigError, match="2 of 2 prompts are too long") as caught:
        check_prompt_lengths(_plain(12, 14), Words(), 30, 20, too_long="drop")
    assert "data.too_long: drop" not in str(caught.value)


@pytest.mark.parametrize("completion", [30, 31])
def test_a_completion_as_long_as_the_context(completion: int) -> None:
    with pytest.raises(ConfigError) as caught:
        check_prompt_lengths(_plain(1), Words(), 30, completion)
    assert caught.value.key == "trainer.max_completion_length"
    assert caught.value.expected == "less than 30"


def test_chat_rows_need_a_chat_template() -> None:
    base = Words()
    base.chat_template = None
    with pytest.raises(ConfigError, match="no chat template") as caught:
        check_prompt_lengths(_chat(3), base, 30, 20)
    assert "data.style: plain" in str(caught.value.remedy)
    assert check_prompt_lengths(_plain(3), base, 30, 20).longest == 3
