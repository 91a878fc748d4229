"""``data.image``: where pictures come from, where they stand in a prompt, and what is no picture."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pillow

from rlent.data import DataSection, LoadedData, MixturePart, load_data, split_held_out
from rlent.data.lengths import prompt_lengths
from rlent.data.pictures import prompt_with_pictures, shown_content, with_places
from rlent.data.prompts import prompt_identities
from rlent.data.tokenizer import load_processor, load_reader
from rlent.errors import ConfigError
from tests.tiny import save_tiny_model
from tests.tiny_vlm import tiny_processor, tiny_vlm

Write = Callable[[str, list[dict[str, Any]]], str]
RED, BLUE = (255, 0, 0), (0, 0, 255)


def png(colour: tuple[int, int, int], side: int = 16) -> bytes:
    content = BytesIO()
    Pillow.new("RGB", (side, side), colour).save(content, "PNG")
    return content.getvalue()


@pytest.fixture(autouse=True)
def pictures(tmp_path: Path) -> None:
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen" / "red.png").write_bytes(png(RED))
    (tmp_path / "seen" / "blue.png").write_bytes(png(BLUE))


def read(name: str, **section: Any) -> LoadedData:
    return load_data(DataSection(name=name, **{"image": "shown", "order": "source", **section}))


def refused(name: str, **section: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(name, **section)
    return caught.value


def row(question: str, shown: Any) -> dict[str, Any]:
    return {"question": question, "answer": "2", "shown": shown}


def colours(value: Any) -> list[Any]:
    return [each.getpixel((3, 3)) for each in (value if isinstance(value, list) else [value])]


def test_one_path_for_each_row(write_jsonl: Write, tmp_path: Path) -> None:
    absolute = str(tmp_path / "seen" / "blue.png")
    name = write_jsonl("rows.jsonl", [row("What?", "seen/red.png"), row("Which?", absolute)])
    rows: Any = read(name).rows
    assert rows.column_names == ["prompt", "answer", "question", "image"]
    assert [colours(each["image"]) for each in rows] == [[RED], [BLUE]]
    (message,) = prompt_with_pictures(rows[1])
    assert message["role"] == "user"
    first, second = message["content"]
    assert first["type"] == "image"
    assert colours(first["image"]) == [BLUE]
    assert second == {"type": "text", "text": "Which?"}


def test_paths_start_at_the_file_and_not_at_the_working_directory(
    write_jsonl: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write_jsonl("rows.jsonl", [row("What?", "seen/red.png")])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    made: Any = read(name).rows[0]
    assert colours(made["image"]) == [RED]


def test_each_file_of_a_glob_has_its_own_folder(write_jsonl: Write, tmp_path: Path) -> None:
    for folder, colour in (("a", RED), ("b", BLUE)):
        write_jsonl(f"{folder}/rows.jsonl", [row(f"{folder}?", "here.png")])
        (tmp_path / folder / "here.png").write_bytes(png(colour))
    rows: Any = read(str(tmp_path / "*" / "rows.jsonl")).rows
    assert [colours(each["image"]) for each in rows] == [[RED], [BLUE]]


def test_a_list_for_each_row_and_places_in_the_text(write_jsonl: Write) -> None:
    both = ["seen/red.png", "seen/blue.png"]
    asked = [row("Is <image> or\n<image> redder?", both), row("Which of these?", both)]
    rows: Any = read(write_jsonl("rows.jsonl", asked), system="Look.").rows
    assert rows.column_names == ["prompt", "answer", "question", "images"]
    system, user = prompt_with_pictures(rows[0])
    assert system == {"role": "system", "content": [{"type": "text", "text": "Look."}]}
    kinds = [part.get("text", "picture") for part in user["content"]]
    assert kinds == ["Is ", "picture", " or\n", "picture", " redder?"]
    assert [colours(user["content"][place]["image"]) for place in (1, 3)] == [[RED], [BLUE]]
    _, user = prompt_with_pictures(rows[1])
    assert [part["type"] for part in user["content"]] == ["image", "image", "text"]


def test_a_conversation_has_places_of_its_own(write_jsonl: Write) -> None:
    parts = [{"type": "text", "text": "And <image>"}, {"type": "image", "text": None}]
    talk = [{"role": "user", "content": parts}]
    given = {"prompt": talk, "answer": "2", "shown": ["seen/red.png", "seen/blue.png"]}
    made: Any = read(write_jsonl("rows.jsonl", [given])).rows[0]
    (message,) = prompt_with_pictures(made)
    assert [part["type"] for part in message["content"]] == ["text", "image", "image"]
    assert colours(message["content"][1]["image"]) == [RED]


@pytest.mark.parametrize("typed", [True, False], ids=["Image feature", "bytes and path"])
@pytest.mark.parametrize("several", [True, False])
def test_pictures_in_the_table(tmp_path: Path, typed: bool, several: bool) -> None:
    """As datasets writes them, and as other programs do, which know of no features."""
    stored = [{"bytes": png(colour), "path": None} for colour in (RED, BLUE)]
    plain = {"bytes": Value("binary"), "path": Value("string")}
    kind = Image() if typed else plain
    table = Dataset.from_dict(
        {
            "question": ["What?", "Which?"],
            "answer": ["1", "2"],
            "shown": [[each] for each in stored] if several else stored,
        },
        features=Features(
            question=Value("string"), answer=Value("string"), shown=List(kind) if several else kind
        ),
    )
    path = tmp_path / "rows.parquet"
    table.to_parquet(str(path))
    rows: Any = read(str(path)).rows
    name = "images" if several else "image"
    assert rows.column_names == ["prompt", "answer", "question", name]
    assert [colours(each[name]) for each in rows] == [[RED], [BLUE]]
    if typed:
        table.save_to_disk(str(tmp_path / "saved"))
        rows = read(str(tmp_path / "saved")).rows
        assert [colours(each[name]) for each in rows] == [[RED], [BLUE]]


def test_columns_that_trl_reads_as_pictures_are_the_ones_made_here(write_jsonl: Write) -> None:
    given = [row("What?", ["seen/red.png"]) | {"image": "a caption", "images": "captions"}]
    name = write_jsonl("rows.jsonl", given)
    assert read(name).rows.column_names == ["prompt", "answer", "question", "images"]
    kept = read(name, columns={"file": "shown"}).rows
    assert kept[0]["file"] == ["seen/red.png"]
    assert refused(name, columns={"images": "shown"}).key == "data.columns.images"


def test_one_question_about_two_pictures_is_two_problems(write_jsonl: Write) -> None:
    given = [row("What?", f"seen/{colour}.png") for colour in ("red", "blue", "red", "blue")]
    name = write_jsonl("rows.jsonl", given)
    data = read(name, duplicates="drop")
    assert len(data.rows) == 2
    assert len(set(data.questions)) == 2
    whole = read(name)
    split = split_held_out(whole.rows, 1, 0, whole.questions)
    held = set(prompt_identities(split.held_out))
    assert len(held) == 1
    assert len(split.train) == 2
    assert held.isdisjoint(prompt_identities(split.train))


def test_pictures_in_a_table_are_told_apart_by_their_bytes(tmp_path: Path) -> None:
    stored = [{"bytes": png(colour), "path": "same.png"} for colour in (RED, BLUE, RED)]
    table = Dataset.from_dict({"question": ["What?"] * 3, "answer": ["1"] * 3, "shown": stored})
    table.to_parquet(str(tmp_path / "rows.parquet"))
    data = read(str(tmp_path / "rows.parquet"))
    first, second, third = prompt_identities(data.rows)
    assert first == third != second


def test_a_mixture_keeps_its_pictures(write_jsonl: Write) -> None:
    names = [
        write_jsonl(f"{colour}.jsonl", [row(f"{colour}?", f"seen/{colour}.png")] * 2)
        for colour in ("red", "blue")
    ]
    parts = tuple(MixturePart(name=name, image="shown") for name in names)
    rows: Any = load_data(DataSection(mixture=parts)).rows
    found = {each["data_source"]: colours(each["image"]) for each in rows}
    assert found == {names[0]: [RED], names[1]: [BLUE]}


def test_sources_of_a_mixture_agree_about_pictures(write_jsonl: Write) -> None:
    one = write_jsonl("one.jsonl", [row("a?", "seen/red.png")])
    several = write_jsonl("several.jsonl", [row("b?", ["seen/red.png"])])
    parts = tuple(MixturePart(name=name, image="shown") for name in (one, several))
    with pytest.raises(ConfigError, match="others lists of them") as caught:
        load_data(DataSection(mixture=parts))
    assert caught.value.key == "data.mixture"
    with pytest.raises(ValueError, match="every source of a mixture has an image, or none has"):
        DataSection(mixture=(parts[0], MixturePart(name=one)))


def test_plain_prompts_have_no_pictures() -> None:
    with pytest.raises(ValueError, match="image needs chat messages"):
        DataSection(name="rows.jsonl", image="shown", style="plain")


WRONG = {
    "missing": ("seen/green.png", "there is no picture '.*/seen/green.png'"),
    "text": ("rows.jsonl", "'.*/rows.jsonl' is no picture"),
    "null": (None, "the row has no picture"),
    "blank": ("", "the row has no picture"),
}


@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_is_no_picture(write_jsonl: Write, wrong: tuple[Any, str], several: bool) -> None:
    value, message = wrong
    given = [
        row(question, [shown] if several else shown)
        for question, shown in (("a?", "seen/red.png"), ("b?", value))
    ]
    name = write_jsonl("rows.jsonl", given)
    error = refused(name)
    assert error.problem.startswith(f"{name}:2: ")
    assert error.key == "data.image"
    assert error.remedy == "correct the row, or set data.bad_rows: skip"
    with pytest.raises(ConfigError, match=message):
        read(name)
    data = read(name, bad_rows="skip")
    assert (len(data.rows), data.problems.left_out()) == (1, ["1 bad"])


def test_an_empty_list_and_a_broken_picture(write_jsonl: Write, tmp_path: Path) -> None:
    (tmp_path / "seen" / "half.png").write_bytes(png(RED, side=200)[:-200])
    given = [row("a?", []), row("b?", ["seen/half.png"]), row("c?", ["seen/red.png"])]
    data = read(write_jsonl("rows.jsonl", given), bad_rows="skip")
    empty, broken = data.problems.first["bad_rows"]
    assert empty.reason == "the row has no picture"
    assert "half.png' is no picture" in broken.reason
    assert len(data.rows) == 1


@pytest.mark.parametrize(("question", "places"), [("<image> <image>?", 2), ("<image>?", 1)])
def test_places_and_pictures_are_equally_many(
    write_jsonl: Write, question: str, places: int
) -> None:
    shown = ["seen/red.png"] * 3
    error = refused(write_jsonl("rows.jsonl", [row(question, shown)]))
    assert f"places for {places} pictures (<image>), and the row has 3" in error.problem
    assert error.key == "data.prompt"


def test_parts_of_messages_that_are_neither() -> None:
    for part in ({"type": "video"}, "text", {"text": "no type"}):
        with pytest.raises(ConfigError, match="neither text nor a picture"):
            with_places([{"role": "user", "content": [part]}], 1)
    with pytest.raises(ConfigError, match="a message without content"):
        with_places([{"role": "user", "content": None}], 1)
    with pytest.raises(ConfigError, match="places for 0 pictures"):
        with_places([{"role": "system", "content": "x"}], 1)


def test_contents_as_text() -> None:
    assert shown_content("a <image>") == "a <image>"
    parts = [{"type": "image", "text": None}, {"type": "text", "text": " a"}]
    assert shown_content(parts) == "<image> a"
    other = [{"type": "audio", "url": "a.wav"}]
    assert shown_content(other) == str(other)


def test_columns_that_hold_no_pictures(write_jsonl: Write) -> None:
    name = write_jsonl("rows.jsonl", [row("a?", 3)])
    error = refused(name)
    assert "the column 'shown' holds no pictures" in error.problem
    assert (error.key, error.given) == ("data.image", "int64")
    error = refused(name, image="show")
    assert "no column 'show' for the pictures" in error.problem
    assert (error.key, error.nearest) == ("data.image", "shown")


# What reads them ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vlm")
    tiny_vlm("llava").save_pretrained(folder)
    tiny_processor("llava").save_pretrained(folder)
    return folder


def test_prompts_are_counted_with_their_pictures(write_jsonl: Write, vlm: Path) -> None:
    both = ["seen/red.png", "seen/blue.png"]
    rows: Any = read(write_jsonl("rows.jsonl", [row("1 + 1", both[:1]), row("1 + 1 =", both)])).rows
    reader = load_reader(DataSection(name="a", image="shown"), str(vlm), None)
    # <user>, four tokens for each picture of 16 x 16 in patches of 8, words, <assistant>
    assert prompt_lengths(rows, reader) == [1 + 4 + 3 + 1, 1 + 8 + 4 + 1]
    assert reader.tokenizer.padding_side == "left"
    alone = load_reader(DataSection(name="a"), str(vlm), None)
    assert not hasattr(alone, "image_processor")


def test_a_processor_takes_the_template_of_a_file(vlm: Path, tmp_path: Path) -> None:
    path = tmp_path / "chat.jinja"
    path.write_text("{{ messages[0]['role'] }}")
    assert load_processor(str(vlm), None, str(path)).chat_template == path.read_text()


def test_models_that_take_no_pictures(tmp_path: Path) -> None:
    text = str(save_tiny_model(tmp_path / "text"))
    with pytest.raises(ConfigError, match=r"a model of text alone \(llama\)") as caught:
        load_processor(text, None)
    assert caught.value.key == "model.name"
    tiny_vlm("llava").save_pretrained(tmp_path / "bare")
    with pytest.raises(ConfigError, match="processor of the model could not be loaded") as caught:
        load_processor(str(tmp_path / "bare"), None)
    assert (caught.value.key, caught.value.remedy) == ("model.name", None)


def test_a_processor_of_no_pictures(vlm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    tokenizer = tiny_processor("llava").tokenizer
    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", lambda *_, **__: tokenizer)
    with pytest.raises(ConfigError, match="no processor that makes tokens of pictures") as caught:
        load_processor(str(vlm), None)
    assert caught.value.key == "model.name"


def test_a_processor_that_needs_what_is_not_installed(
    vlm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    def missing(*_: Any, **__: Any) -> None:
        raise ImportError("needs the torchvision library")

    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", missing)
    with pytest.raises(ConfigError, match="needs the torchvision library") as caught:
        load_processor(str(vlm), None)
    assert caught.value.remedy == "pip install torchvision"
