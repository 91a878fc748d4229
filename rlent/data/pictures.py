"""Pictures of rows in TRL's layout: a column ``image`` or ``images`` beside prompts that say where each one stands."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlent.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset

KEY = "data.image"
MARK = "<image>"
"""Where a picture stands in the text of a prompt."""
ONE, SEVERAL = COLUMNS = "image", "images"
"""TRL's columns: one picture for each prompt, or a list."""
_BATCH = 16
"""Rows that are read at once: pictures inside of a table are large."""

Message = dict[str, Any]


def picture_values(table: "Dataset", column: str) -> Iterator[Any]:
    """The values of a column of pictures as they are stored, not decoded."""
    batches: Any = table.select_columns([column]).with_format("arrow").iter(_BATCH)
    for batch in batches:
        yield from batch[column].to_pylist()


def picture_names(value: Any, folder: Path) -> tuple[str, ...]:
    """What tells the pictures of a row from others: the path of each file, or a digest of its bytes.

    Relative paths start in `folder`. Raises ConfigError for a row without pictures, and for what is no picture.
    """
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ConfigError("the row has no picture", key=KEY)
    return tuple(_checked_name(each, folder) for each in values)


def picture_column(table: "Dataset", column: str, names: Sequence[tuple[str, ...]]) -> "Dataset":
    """A column of pictures alone, under TRL's name, which decodes a row's pictures when the row is read.

    `names` are those of the rows. Raises ConfigError when the column holds no pictures.
    """
    from datasets import Dataset, Features

    several, embedded = _layout(table, column)
    name = SEVERAL if several else ONE
    if embedded:
        alone = table.select_columns([column])
        alone = alone if column == name else alone.rename_column(column, name)
        return alone.cast_column(name, picture_feature(name))
    values = [list(each) if several else each[0] for each in names]
    features = Features({name: picture_feature(name)})
    return Dataset.from_dict({name: values}, features=features)


def picture_feature(name: str) -> Any:
    """The type of TRL's column of this name."""
    from datasets import Image, List

    return List(Image()) if name == SEVERAL else Image()


def check_picture_column(table: "Dataset", column: str) -> None:
    """Raise ConfigError unless the column holds paths or pictures, or lists of them."""
    _layout(table, column)


def with_places(messages: Sequence[Message], count: int) -> list[Message]:
    """Chat messages whose contents are lists of parts, a part of type ``image`` for each of `count` pictures.

    Pictures stand where the text says ``<image>``, or where the messages have such parts already; where neither does,
    in front of the first message of the user. Raises ConfigError when places and pictures are not equally many.
    """
    placed = [{**message, "content": _parts(message["content"])} for message in messages]
    places = sum(part["type"] == "image" for message in placed for part in message["content"])
    asked = next((message for message in placed if message["role"] == "user"), None)
    if places == 0 and asked is not None:
        asked["content"] = [*({"type": "image"} for _ in range(count)), *asked["content"]]
    elif places != count:
        raise ConfigError(
            f"the prompt has places for {places} pictures ({MARK}), and the row has {count}",
            key="data.prompt",
        )
    return placed


def picture_column_in(names: Collection[str]) -> str | None:
    """TRL's column of pictures among the columns of a row, None where it has none."""
    return next((name for name in (ONE, SEVERAL) if name in names), None)


def stored_names(rows: "Dataset", column: str) -> Iterator[tuple[str, ...]]:
    """The names of every row's pictures, for rows whose pictures are known to be there."""
    for value in picture_values(rows, column):
        yield tuple(map(_name, value if column == SEVERAL else [value]))


def prompts_with_pictures(rows: "Dataset") -> Iterator[Any]:
    """Every prompt with its pictures, decoded one row at a time; the prompts themselves where rows have none."""
    if (name := picture_column_in(rows.column_names)) is None:
        yield from rows["prompt"]
        return
    alone: Any = rows.select_columns(["prompt", name])
    yield from map(prompt_with_pictures, alone)


def prompt_with_pictures(row: Mapping[str, Any]) -> Any:
    """The prompt of a row with its pictures in their places; the prompt itself where the row has none."""
    if (name := picture_column_in(row)) is None:
        return row["prompt"]
    pictures = iter(row[name] if name == SEVERAL else [row[name]])

    def filled(part: Mapping[str, Any]) -> dict[str, Any]:
        if part["type"] == "image":
            return {"type": "image", "image": next(pictures)}
        return {"type": "text", "text": part["text"]}

    return [
        {**message, "content": [filled(part) for part in message["content"]]}
        for message in row["prompt"]
    ]


def shown_content(content: Any) -> str:
    """The content of a chat message as text, with ``<image>`` for a picture."""
    if not isinstance(content, list) or not all(map(_is_part, content)):
        return str(content)
    return "".join(part["text"] if part["type"] == "text" else MARK for part in content)


def _layout(table: "Dataset", column: str) -> tuple[bool, bool]:
    """Whether rows have lists, and whether the table holds pictures and not only their paths."""
    import pyarrow as pa

    kind: Any = table.data.schema.field(column).type
    several = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    one = kind.value_type if several else kind
    embedded = pa.types.is_struct(one) and {"bytes", "path"} <= {field.name for field in one}
    if not embedded and not pa.types.is_string(one) and not pa.types.is_large_string(one):
        raise ConfigError(
            f"the column '{column}' holds no pictures",
            key=KEY,
            expected="paths, or what the Image feature of datasets holds, or lists of these",
            given=str(kind),
        )
    return several, embedded


def _checked_name(value: Any, folder: Path) -> str:
    """The name of one picture that can be decoded."""
    # What the Image feature says of a path is read by datasets, which knows of no other folder.
    stored = value
    if isinstance(value, str):
        stored = {"bytes": None, "path": value and str(folder / value)}
    if not stored or not (stored["bytes"] or stored["path"]):
        raise ConfigError("the row has no picture", key=KEY)
    name = _name(stored)
    if stored["bytes"]:
        _decode(BytesIO(stored["bytes"]), "the picture in the table")
    elif Path(name).is_file():
        _decode(name, f"'{name}'")
    else:
        raise ConfigError(f"there is no picture '{name}'", key=KEY)
    return name


def _name(stored: Mapping[str, Any]) -> str:
    content = stored["bytes"]
    return sha256(content).hexdigest() if content else str(Path(stored["path"]).absolute())


def _decode(source: Any, name: str) -> None:
    from PIL import Image

    try:
        with Image.open(source) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError(f"{name} is no picture: {error}", key=KEY) from error


def _parts(content: Any) -> list[Message]:
    if isinstance(content, str):
        texts = content.split(MARK)
        parts: list[Message] = [{"type": "text", "text": texts[0]}]
        for text in texts[1:]:
            parts += [{"type": "image"}, {"type": "text", "text": text}]
        return [part for part in parts if part.get("text") != ""]
    if not isinstance(content, list):
        raise ConfigError("a message without content", key="data.prompt", given=content)
    for part in content:
        if not _is_part(part):
            raise ConfigError(
                "a part of a message is neither text nor a picture", key="data.prompt", given=part
            )
    return [
        piece
        for part in content
        for piece in (_parts(part["text"]) if part["type"] == "text" else [{"type": "image"}])
    ]


def _is_part(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") in ("text", "image")
