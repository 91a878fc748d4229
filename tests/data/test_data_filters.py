"""Rows that can be read and are not wanted: without answer, repeated, with too few or too many tokens."""

from collections.abc import Callable
from typing import Any

import pytest

from rlent.data import (
    DataSection,
    LoadedData,
    load_data,
    load_tokenizer,
    split_held_out,
    summarize_lengths,
    within_bounds,
)
from rlent.errors import ConfigError

Write = Callable[[str, list[dict[str, Any]]], str]


@pytest.fixture
def load(write_jsonl: Write) -> Callable[..., LoadedData]:
    def load(rows: list[dict[str, Any]], **section: Any) -> LoadedData:
        return load_data(DataSection(name=write_jsonl("rows.jsonl", rows), **section))

    return load


Load = Callable[..., LoadedData]


@pytest.mark.parametrize("missing", [None, "", "  \n", float("nan")])
def test_rows_without_answer(missing: object, load: Load) -> None:
    answers = [1.5, missing, 2.5] if isinstance(missing, float) else ["1", missing, "2"]
    rows = [{"prompt": f"p{i}", "answer": answer} for i, answer in enumerate(answers)]
    with pytest.raises(ConfigError, match=r"rows\.jsonl:2: no answer in the column") as caught:
        load(rows)
    assert caught.value.key == "data.answer"
    assert "data.no_answer: drop" in str(caught.value.remedy)
    data = load(rows, no_answer="drop")
    assert sorted(place[-2:] for place in data.places) == [":1", ":3"]
    assert data.problems.left_out() == ["1 without answer"]


def test_rows_without_answer_are_no_problem_where_there_are_no_labels(load: Load) -> None:
    data = load([{"prompt": "a", "answer": None}, {"prompt": "b"}], answer=None)
    assert len(data.rows) == 2
    assert data.problems.left_out() == []


def test_an_empty_answer_of_a_generated_task_is_an_answer() -> None:
    # Seen in reasoning-gym 0.1.25: some programs of the A::B task reduce to nothing.
    data = load_data(DataSection(name="reasoning_gym/ab", size=300))
    assert "" in data.rows["answer"][:]


REPEATED = [
    {"prompt": "a", "answer": "1"},
    {"prompt": "b", "answer": "2"},
    {"prompt": "a", "answer": "1"},
    {"prompt": "a ", "answer": "1"},
    {"prompt": "b", "answer": "3"},
    {"prompt": "a", "answer": "1"},
]


def test_duplicates_are_kept_and_counted(load: Load) -> None:
    data = load(REPEATED)
    assert len(data.rows) == 6
    assert data.problems.counts["duplicates"] == 3
    assert data.problems.left_out() == []


@pytest.mark.parametrize("seed", range(5))
def test_the_first_row_of_each_prompt_stays(seed: int, load: Load) -> None:
    everything = load(REPEATED, seed=seed)
    first: dict[str, str] = {}
    for row, place in zip(everything.rows.to_list(), everything.places, strict=True):
        first.setdefault(row["prompt"][0]["content"], place)
    data = load(REPEATED, seed=seed, duplicates="drop")
    assert data.places == list(first.values())
    assert data.problems.left_out() == ["3 duplicate"]
    reasons = [problem.reason for problem in data.problems.first["duplicates"]]
    assert sum(reason.endswith("with another answer") for reason in reasons) == 1
    assert all("rows.jsonl:" in reason for reason in reasons)


def test_duplicates_can_stop_the_run(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"rows\.jsonl:\d: the prompt of .*:\d again") as caught:
        load(REPEATED, duplicates="stop")
    assert caught.value.key == "data.duplicates"
    assert caught.value.remedy == "correct the row, or set data.duplicates: drop or keep"


def test_the_same_question_in_other_words_is_no_duplicate_of_one_source(load: Load) -> None:
    rows = [{"question": "q", "hint": hint, "answer": "1"} for hint in ("x", "y")]
    data = load(rows, prompt="{question} {hint}", duplicates="drop")
    assert len(data.rows) == 2


class Letters:
    """A tokenizer with a token per character, and five more around a conversation."""

    chat_template = "template"

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [0] * len(text)}

    def apply_chat_template(
        self, messages: list[dict[str, str]], *, extra: int = 0, **_: Any
    ) -> dict[str, list[int]]:
        length = sum(len(message["content"]) for message in messages)
        return {"input_ids": [0] * (length + 5 + extra)}


@pytest.mark.parametrize("style", ["plain", "chat"])
@pytest.mark.parametrize(
    ("low", "high", "kept"),
    [(None, None, 6), (3, None, 4), (None, 4, 4), (3, 4, 2), (1, 6, 6), (6, 6, 1)],
)
def test_bounds_on_the_tokens_of_a_prompt(
    style: str, low: int | None, high: int | None, kept: int, load: Load
) -> None:
    more = 5 if style == "chat" else 0
    low, high = (None if bound is None else bound + more for bound in (low, high))
    section: dict[str, Any] = {"min_prompt_tokens": low, "max_prompt_tokens": high, "style": style}
    rows = [{"prompt": "x" * length, "answer": "1"} for length in range(1, 7)]
    data = load(rows, **section)
    found = within_bounds(data, Letters(), DataSection(name="rows.jsonl", **section))
    lengths = [len(question) + more for question in found.questions]
    assert len(lengths) == kept
    assert all((low or 0) <= length <= (high or 99) for length in lengths)
    expected = [
        place for place, q in zip(data.places, data.questions, strict=True) if q in found.questions
    ]
    assert found.places == expected
    short = sum(length + more < (low or 0) for length in range(1, 7))
    counts = found.problems.counts
    assert (counts["too_few_tokens"], counts["too_many_tokens"]) == (short, 6 - kept - short)


def test_arguments_of_the_chat_template_count(load: Load) -> None:
    section = DataSection(name="rows.jsonl", max_prompt_tokens=10)
    data = load([{"prompt": "12345", "answer": "1"}, {"prompt": "1", "answer": "1"}])
    assert len(within_bounds(data, Letters(), section).rows) == 2
    assert len(within_bounds(data, Letters(), section, {"extra": 1}).rows) == 1


@pytest.mark.parametrize("bound", ["min_prompt_tokens", "max_prompt_tokens"])
def test_bounds_must_leave_a_row(bound: str, load: Load) -> None:
    section: dict[str, Any] = {bound: 3, "style": "plain"}
    data = load([{"prompt": "x" * (1 if bound[:3] == "min" else 9), "answer": "1"}], **section)
    with pytest.raises(ConfigError, match="no prompt has") as caught:
        within_bounds(data, Letters(), DataSection(name="rows.jsonl", **section))
    assert caught.value.key == f"data.{bound}"


@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 100, 101])
def test_quantiles_are_the_least_lengths_that_enough_prompts_do_not_exceed(count: int) -> None:
    lengths = [(7 * i) % count + 1 for i in range(count)]
    found = summarize_lengths(lengths)
    for value, share in ((found.median, 50), (found.p95, 95)):
        assert 100 * sum(length <= value for length in lengths) >= share * count
        assert 100 * sum(length < value for length in lengths) < share * count
        assert value in lengths
    assert (found.shortest, found.longest) == (min(lengths), max(lengths))


def test_the_questions_of_rows_are_what_their_templates_insert(load: Load) -> None:
    rows = [{"question": "q", "hint": 3, "answer": "1"}]
    assert load(rows, prompt="{hint}: {question} Think.", system="S").questions == ["3\nq"]
    assert load(rows).questions == ["q"]


def test_a_question_is_held_out_with_all_its_wordings(load: Load) -> None:
    rows = [{"prompt": f"{text} {i}", "answer": str(i)} for text in "ab" for i in range(10)]
    data = load(rows)
    questions = [row["answer"] for row in data.rows.to_list()]
    split = split_held_out(data.rows, 4, 0, questions)
    held_out, train = set(split.held_out["answer"]), set(split.train["answer"])
    assert not held_out & train
    assert len(split.train) + 4 + split.removed == 20
    assert held_out | train == set(questions)
    with pytest.raises(ConfigError, match="every question of a training row is held out"):
        split_held_out(data.rows, 1, 0, ["same"] * 20)


@pytest.mark.parametrize(
    ("text", "part"),
    [("{% for %}", "not a Jinja template"), (" \n", "is blank"), (None, "no file or folder")],
)
def test_chat_templates_that_cannot_work(
    text: str | None, part: str, tiny_folder: Any, tmp_path: Any
) -> None:
    path = tmp_path / "chat.jinja"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_tokenizer(str(tiny_folder), None, str(path))
    assert part in caught.value.problem
    assert caught.value.key == "data.chat_template"


def test_a_chat_template_takes_the_place_of_the_models(tiny_folder: Any, tmp_path: Any) -> None:
    path = tmp_path / "chat.jinja"
    path.write_text("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}")
    tokenizer = load_tokenizer(str(tiny_folder), None, str(path))
    talk = [{"role": "user", "content": "1 + 1"}]
    assert tokenizer.apply_chat_template(talk, tokenize=False) == "<user>1 + 1"
