"""Rows of given answers: from a recipe's data section to the columns that TRL's trainers read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from rlent.data import DataSection, LoadedData, load_data
from rlent.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset

COLUMNS = {"preferences": ("chosen", "rejected"), "completions": ("completion",)}
"""What a loss reads -> columns beside the prompt."""
TEXT = "text"
"""A column that is learnt as a whole, where there is no completion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerRows:
    """Rows that TRL's trainer tokenises."""

    data: LoadedData
    """What the data section gave, with the problems that were found."""
    rows: "Dataset"
    """``prompt`` with ``chosen`` and ``rejected`` or with ``completion``, or ``text`` alone."""
    longest: int
    """Tokens of the longest sequence that is kept."""
    dropped: int
    """Rows left out because they are too long."""


def read_answers(section: DataSection, reads: Literal["preferences", "completions"]) -> LoadedData:
    """The rows of a section with their answers.

    Raises:
        ConfigError: as ``load_data``, or a column of answers is missing.
    """
    data = load_data(_without_labels(section), given=COLUMNS[reads])
    names = data.rows.column_names
    if reads == "completions" and "completion" not in names and TEXT in names:
        return data
    for name in COLUMNS[reads]:
        if name not in names:
            raise ConfigError(
                f"the data has no column '{name}'",
                key="data.columns" if section.columns else "data.name",
                expected=" and ".join(COLUMNS[reads])
                + (f", or {TEXT}" if reads == "completions" else ""),
                given=", ".join(names),
                remedy=f"name the column that holds it: data.columns: {{{name}: ...}}",
            )
    return data


def answer_rows(
    data: LoadedData,
    reads: Literal["preferences", "completions"],
    tokenizer: Any,
    *,
    limit: int,
    too_long: Literal["stop", "drop", "error"],
) -> AnswerRows:
    """The rows as TRL reads them, of those whose every sequence has at most ``limit`` tokens.

    Raises:
        ConfigError: an answer is not text or a conversation, or a sequence is too long and these are not dropped.
    """
    names = COLUMNS[reads] if COLUMNS[reads][0] in data.rows.column_names else (TEXT,)
    made = [
        _made(row, names, place)
        for row, place in zip(data.rows.to_list(), data.places, strict=True)
    ]
    lengths = [max(len(ids) for ids in _sequences(row, names, tokenizer)) for row in made]
    kept = [i for i, length in enumerate(lengths) if length <= limit]
    if len(kept) < len(made) and (too_long != "drop" or not kept):
        worst = max(range(len(made)), key=lengths.__getitem__)
        raise ConfigError(
            f"{len(made) - len(kept)} of {len(made)} rows are longer than {limit} tokens, prompt and answer together; "
            f"the longest, {data.places[worst]}, has {lengths[worst]}",
            key="data.too_long",
            remedy="set data.too_long to drop, or raise trainer.max_length up to the model's context",
        )
    from datasets import Dataset

    return AnswerRows(
        data=data,
        rows=Dataset.from_list([made[i] for i in kept]),
        longest=max(lengths[i] for i in kept),
        dropped=len(made) - len(kept),
    )


def _without_labels(section: DataSection) -> DataSection:
    """The section without reference answers, which no loss reads."""
    if section.mixture:
        parts = tuple(replace(part, answer=_no_label(part.answer)) for part in section.mixture)
        return replace(section, mixture=parts)
    return replace(section, answer=_no_label(section.answer))


def _no_label(column: str | None) -> None:
    if column not in (None, "answer"):
        raise ConfigError(
            "reference answers have no effect with a loss over given answers",
            key="data.answer",
            given=column,
            remedy="remove it",
        )


def _made(row: Mapping[str, Any], names: Sequence[str], place: str) -> dict[str, Any]:
    if names == (TEXT,):
        return {TEXT: _text(row[TEXT], TEXT, place)}
    prompt = row["prompt"]
    return {"prompt": prompt} | {name: _answer(row[name], prompt, name, place) for name in names}


def _answer(given: Any, prompt: Any, name: str, place: str) -> Any:
    """An answer in the form of its prompt: text, or chat messages."""
    if isinstance(prompt, str):
        return _text(given, name, place)
    if isinstance(given, list) and given and all("role" in message for message in given):
        return given
    return [{"role": "assistant", "content": _text(given, name, place)}]


def _text(given: Any, name: str, place: str) -> str:
    if isinstance(given, str) and given.strip():
        return given
    raise ConfigError(
        f"{place}: no usable answer in the column '{name}'",
        key=f"data.columns.{name}",
        expected="text, or the messages of an assistant behind a chat prompt",
        given=given,
    )


def _sequences(row: Mapping[str, Any], names: Sequence[str], tokenizer: Any) -> list[list[int]]:
    """Tokens of prompt and answer, counted as TRL makes them."""
    end = tokenizer.eos_token or ""
    sequences = []
    for name in names:
        prompt, answer = row.get("prompt", ""), row[name]
        if isinstance(prompt, str):
            text = prompt + answer
            sequences.append(tokenizer(text if text.endswith(end) else text + end)["input_ids"])
        else:
            encoded = tokenizer.apply_chat_template(
                prompt + answer, tokenize=True, return_dict=True
            )
            sequences.append(encoded["input_ids"])
    return sequences
