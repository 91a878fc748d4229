"""From the values of a row to its prompt and its reference answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rlent.data.pictures import picture_column_in, shown_content, stored_names, with_places
from rlent.data.section import DataSource
from rlent.data.template import render, template_columns
from rlent.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset

PROMPT_COLUMNS = ("prompt", "question", "problem")
VERL_ANSWER = "reward_model.ground_truth"

Message = dict[str, Any]
Prompt = str | list[Message]


@dataclass(frozen=True, kw_only=True, slots=True)
class RowMaker:
    """How rows of one source become prompts and answers, its columns known to exist."""

    source: DataSource
    style: Literal["chat", "plain"]
    inserted: tuple[str, ...]
    """Columns that the prompt is made of."""
    blank_answers: bool
    """An empty text is an answer, and not the lack of one."""

    @property
    def columns(self) -> list[str]:
        """Every column that a row is made of, each once."""
        answer = () if self.source.answer is None else (self.source.answer,)
        return list(dict.fromkeys((*self.inserted, *answer)))

    def prompt(self, values: Mapping[str, Any], pictures: int = 0) -> Prompt:
        """Text or chat messages, with the places of so many pictures. Raises ConfigError when the values give none."""
        made = self._made(values)
        if self.style == "plain":
            return _text(made)
        messages = _messages(made, self.source.system)
        return messages if self.source.image is None else with_places(messages, pictures)

    def answer(self, values: Mapping[str, Any]) -> str | None:
        """The reference answer as text, None where the row has none. Raises ConfigError for lists."""
        column = self.source.answer
        if column is None:
            return None
        value = values[column]
        # A number that is not equal to itself stands for a missing one.
        if value is None or value != value:
            return None
        if not isinstance(value, str | int | float):
            raise ConfigError(
                f"an answer of type {type(value).__name__} in the column '{column}'",
                key="data.answer",
                expected="one text or number per row",
                given=value,
            )
        text = str(value)
        return text if text.strip() or self.blank_answers else None

    def question(self, values: Mapping[str, Any]) -> str:
        """What the prompt asks, without its template and its system message."""
        return "\n".join(
            prompt_text(value) if _is_conversation(value) else str(value)
            for value in (values[name] for name in self.inserted)
        )

    def _made(self, values: Mapping[str, Any]) -> Any:
        template, first = self.source.prompt, self.inserted[0]
        alone = template is None or template == f"{{{first}}}"
        if template is None or (alone and _is_conversation(values[first])):
            return values[first]
        return render(template, {name: values[name] for name in self.inserted})


def row_maker(
    names: list[str], source: DataSource, style: Literal["chat", "plain"], *, blank_answers: bool
) -> RowMaker:
    """The maker for a source that has these columns and fields.

    Raises ConfigError when a column is missing, or the template cannot work.
    """
    if source.answer is not None:
        check_column(
            source.answer,
            names,
            "for the reference answers",
            "data.answer",
            remedy=f"set answer: {VERL_ANSWER}" if VERL_ANSWER in names else None,
        )
    inserted = (
        [_default_column(names)]
        if source.prompt is None
        else template_columns(source.prompt, names)
    )
    return RowMaker(
        source=source, style=style, inserted=tuple(inserted), blank_answers=blank_answers
    )


def check_column(
    name: str, names: list[str], use: str, key: str, *, remedy: str | None = None
) -> None:
    """Raise ConfigError when a column that is named in a recipe does not exist."""
    if name not in names:
        raise ConfigError(
            f"the data has no column '{name}' {use}",
            key=key,
            expected=", ".join(names),
            given=name,
            choices=names,
            remedy=remedy,
        )


def prompt_text(prompt: Prompt) -> str:
    """A prompt as one text: equal for equal prompts, readable in messages."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(
        f"{message['role']}: {shown_content(message['content'])}" for message in prompt
    )


def prompt_identities(rows: "Dataset") -> list[str]:
    """A text for every prompt, with the names of its pictures: equal for equal prompts."""
    texts = [prompt_text(prompt) for prompt in rows["prompt"]]
    if (column := picture_column_in(rows.column_names)) is None:
        return texts
    pictures = stored_names(rows, column)
    return ["\n".join((text, *names)) for text, names in zip(texts, pictures, strict=True)]


def prompt_ids(
    prompt: Prompt, tokenizer: Any, options: Mapping[str, Any] | None = None
) -> list[int]:
    """Tokens of a prompt as generation sees them: chat messages go through the chat template.

    `tokenizer` is a processor where the messages hold pictures; `options` are further arguments of
    the template (``trainer.chat_template_kwargs``).
    """
    if isinstance(prompt, str):
        return tokenizer(prompt)["input_ids"]
    if tokenizer.chat_template is None:
        raise ConfigError(
            "the rows are chat messages, and the model has no chat template",
            key="data.style",
            remedy="use a chat model, name a data.chat_template, or use data.style: plain",
        )
    encoded = tokenizer.apply_chat_template(
        prompt, add_generation_prompt=True, tokenize=True, return_dict=True, **(options or {})
    )
    # A processor gives a list of prompts also where it was given one.
    ids = encoded["input_ids"]
    return ids[0] if ids and isinstance(ids[0], list) else ids


def _default_column(names: list[str]) -> str:
    for column in PROMPT_COLUMNS:
        if column in names:
            return column
    raise ConfigError(
        f"the data has none of the columns {', '.join(PROMPT_COLUMNS)}",
        key="data.prompt",
        expected=f"a template over the columns {', '.join(names)}",
    )


def _text(made: object) -> str:
    if isinstance(made, str) and made.strip():
        return made
    raise _no_prompt(made, "text; chat messages need data.style: chat")


def _messages(made: object, system: str | None) -> list[Message]:
    if isinstance(made, str) and made.strip():
        messages: list[Message] = [{"role": "user", "content": made}]
    elif isinstance(made, list) and _is_conversation(made):
        messages = made
    else:
        raise _no_prompt(made, "text, or chat messages with role and content")
    if system is None:
        return messages
    if messages[0]["role"] == "system":
        raise ConfigError("the prompt already starts with a system message", key="data.system")
    return [{"role": "system", "content": system}, *messages]


def _is_conversation(made: object) -> bool:
    return (
        isinstance(made, list)
        and bool(made)
        and all(isinstance(item, dict) and item.get("role") and "content" in item for item in made)
    )


def _no_prompt(made: object, expected: str) -> ConfigError:
    return ConfigError("no usable prompt", key="data.prompt", expected=expected, given=made)
