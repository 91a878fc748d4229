"""From the columns of a source to `prompt` and `answer`."""

from typing import TYPE_CHECKING, Any

from rlent.data.section import DataSection
from rlent.data.template import render, template_columns
from rlent.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset

PROMPT_COLUMNS = ("prompt", "question", "problem")
# TRL takes these for a conversation beside the prompt, or for arguments of its own.
TRL_COLUMNS = frozenset(
    {"messages", "chosen", "rejected", "completion", "prompts", "completions", "completion_ids"}
)

Message = dict[str, Any]


def with_prompts(table: "Dataset", section: DataSection) -> "Dataset":
    """The table with `prompt` and, if there are labels, `answer` columns in front, without `TRL_COLUMNS`.

    Raises ConfigError when a column is missing, or a row has no usable prompt or answer.
    """
    from datasets import Dataset, concatenate_datasets

    columns: dict[str, list[Any]] = {"prompt": _prompts(table, section)}
    if section.answer is not None:
        columns["answer"] = _answers(table, section.answer)
    made = Dataset.from_dict(columns)
    replaced = {"prompt", "answer"} | TRL_COLUMNS
    others = [name for name in table.column_names if name not in replaced]
    if not others:
        return made
    return concatenate_datasets([made, table.select_columns(others)], axis=1)


def prompt_text(prompt: str | list[Message]) -> str:
    """A prompt as one text: equal for equal prompts, readable in messages."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def prompt_ids(prompt: str | list[Message], tokenizer: Any) -> list[int]:
    """Tokens of a prompt as generation sees them: chat messages go through the chat template."""
    if isinstance(prompt, str):
        return tokenizer(prompt)["input_ids"]
    if tokenizer.chat_template is None:
        raise ConfigError(
            "the rows are chat messages, and the model has no chat template",
            key="data.style",
            remedy="use a chat model, or data.style: plain",
        )
    encoded = tokenizer.apply_chat_template(
        prompt, add_generation_prompt=True, tokenize=True, return_dict=True
    )
    return encoded["input_ids"]


def _answers(table: "Dataset", column: str) -> list[str]:
    if column not in table.column_names:
        raise ConfigError(
            f"the data has no column '{column}' for the reference answers",
            key="data.answer",
            expected=", ".join(table.column_names),
            given=column,
            choices=table.column_names,
        )
    return [_answer(value, column, row) for row, value in enumerate(table[column])]


def _answer(value: object, column: str, row: int) -> str:
    if not isinstance(value, str | int | float):
        found = "no answer" if value is None else f"an answer of type {type(value).__name__}"
        raise ConfigError(
            f"row {row} has {found} in the column '{column}'",
            key="data.answer",
            expected="one text or number per row",
            given=value,
        )
    return str(value)


def _prompts(table: "Dataset", section: DataSection) -> list[str] | list[list[Message]]:
    template = section.prompt
    if template is None:
        column = _default_column(table.column_names)
        sources = list(table[column])
    else:
        names = template_columns(template, table.column_names)
        rows = zip(*(table[name] for name in names), strict=True)
        sources = [
            render(template, dict(zip(names, values, strict=True)), row)
            for row, values in enumerate(rows)
        ]
    if section.style == "plain":
        return [_text(source, row) for row, source in enumerate(sources)]
    return [_messages(source, section.system, row) for row, source in enumerate(sources)]


def _default_column(columns: list[str]) -> str:
    for column in PROMPT_COLUMNS:
        if column in columns:
            return column
    raise ConfigError(
        f"the data has none of the columns {', '.join(PROMPT_COLUMNS)}",
        key="data.prompt",
        expected=f"a template over the columns {', '.join(columns)}",
    )


def _text(source: object, row: int) -> str:
    if isinstance(source, str):
        return source
    raise _wrong_prompt(source, row, "text; chat messages need data.style: chat")


def _messages(source: object, system: str | None, row: int) -> list[Message]:
    if isinstance(source, str):
        messages: list[Message] = [{"role": "user", "content": source}]
    elif isinstance(source, list) and source and all(_is_message(item) for item in source):
        messages = source
    else:
        raise _wrong_prompt(source, row, "text, or chat messages with role and content")
    if system is None:
        return messages
    if messages[0]["role"] == "system":
        raise ConfigError(
            f"the prompt of row {row} already starts with a system message", key="data.system"
        )
    return [{"role": "system", "content": system}, *messages]


def _is_message(item: object) -> bool:
    return isinstance(item, dict) and {"role", "content"} <= item.keys()


def _wrong_prompt(source: object, row: int, expected: str) -> ConfigError:
    return ConfigError(
        f"row {row} has no usable prompt", key="data.prompt", expected=expected, given=source
    )
