import json
import math
import sys
from typing import Any

import pytest

from rlent_rewards import ReasoningGym, reasoning_gym_scorer
from rlent_rewards.reasoning_gym_scorer import score


def row(task: str, answer: Any = "7", **metadata: Any) -> dict[str, Any]:
    """Columns of one row."""
    metadata = {"source_dataset": task, **metadata}
    return {"answer": [answer], "metadata": [json.dumps(metadata)]}


def generated(task: str) -> tuple[str, dict[str, Any], Any]:
    """The right answer of a generated entry, its columns as rlent makes them, and its entry."""
    from reasoning_gym.factory import create_dataset

    entry = create_dataset(task, seed=5, size=1)[0]
    columns = {"answer": [entry["answer"]], "metadata": [json.dumps(entry["metadata"])]}
    return entry["answer"], columns, entry


def tagged(answer: str) -> list[str]:
    return [f"I think.<answer>\n{answer}\n</answer>"]


@pytest.mark.parametrize(
    "task", ["chain_sum", "arc_agi", "rearc", "countdown", "maze", "spiral_matrix", "leg_counting"]
)
def test_the_right_answer_scores_one_and_a_wrong_one_what_the_task_says(task: str) -> None:
    from reasoning_gym.factory import get_score_answer_fn

    answer, columns, entry = generated(task)
    reward = ReasoningGym(extract="whole")
    assert reward([answer], **columns) == [1.0]
    assert reward(["1 + 1"], **columns) == [get_score_answer_fn(task)("1 + 1", entry)]


def test_rows_of_several_tasks_may_be_mixed() -> None:
    answers, rows = zip(*[generated(task)[:2] for task in ("chain_sum", "maze")], strict=True)
    columns = {name: [each[name][0] for each in rows] for name in ("answer", "metadata")}
    texts = [tagged(answers[0])[0], "no tags", tagged(answers[1])[0]]
    columns = {name: [values[0], values[0], values[1]] for name, values in columns.items()}
    assert ReasoningGym()(texts, **columns) == [1.0, 0.0, 1.0]


def test_metadata_may_be_a_mapping() -> None:
    columns = {"answer": ["7"], "metadata": [{"source_dataset": "chain_sum"}]}
    assert ReasoningGym()(tagged("7"), **columns) == [1.0]


def test_the_answer_stands_where_extract_says() -> None:
    text = [r"\boxed{7} <answer>8</answer>"]
    assert ReasoningGym()(text, **row("chain_sum", "8")) == [1.0]
    assert ReasoningGym(extract="boxed")(text, **row("chain_sum", "7")) == [1.0]


@pytest.mark.parametrize(
    ("text", "task", "logged_as"),
    [
        ("no tags at all", "chain_sum", "unparsed"),
        ("<answer> </answer>", "chain_sum", "unparsed"),
        ("<answer>" + "7" * 10_001 + "</answer>", "chain_sum", "refused"),
        ("<answer>not a number</answer>", "prime_factorization", "errors"),
        ("<answer>9**9**9**9</answer>", "countdown", "timeouts"),
        ("<answer>9**9**9**9</answer>", "spiral_matrix", "timeouts"),
        ("<answer>__import__('os')._exit(1)</answer>", "spiral_matrix", "crashes"),
        ("<answer>8</answer>", "chain_sum", None),
    ],
)
def test_what_went_wrong_is_scored_zero_and_counted(
    text: str, task: str, logged_as: str | None
) -> None:
    logged: dict[str, float] = {}
    reward = ReasoningGym(timeout=1.0)
    columns = row(task, metadata="", numbers=[1], target=3)
    assert reward([text], log_metric=logged.__setitem__, **columns) == [0.0]
    names = ("unparsed", "refused", "timeouts", "out_of_memory", "crashes", "errors")
    assert logged == {f"rewards/reasoning_gym/{name}": float(name == logged_as) for name in names}


def test_an_answer_does_not_get_more_memory_than_allowed() -> None:
    # Joining the numbers of a gigabyte would take longer than the timeout.
    for megabytes, timeouts in ((100, 0.0), (4000, 1.0)):
        logged: dict[str, float] = {}
        reward = ReasoningGym(memory_mb=megabytes, timeout=2.0)
        text = tagged("bytearray(10**9)")
        assert reward(text, log_metric=logged.__setitem__, **row("spiral_matrix")) == [0.0]
        assert logged["rewards/reasoning_gym/timeouts"] == timeouts


@pytest.mark.parametrize("outcome", [ValueError(), RecursionError(), math.nan, math.inf])
def test_a_scorer_that_raises_or_gives_no_number_is_an_error(
    outcome: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_scorer(monkeypatch, outcome)
    assert score("7", {"metadata": {"source_dataset": "any"}}) == "errors"


def test_a_lack_of_memory_is_left_to_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    use_scorer(monkeypatch, MemoryError())
    with pytest.raises(MemoryError):
        score("7", {"metadata": {"source_dataset": "any"}})


def use_scorer(monkeypatch: pytest.MonkeyPatch, outcome: Any) -> None:
    def scorer(answer: str, entry: dict[str, Any]) -> float:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(reasoning_gym_scorer, "_scorer", lambda task: scorer)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        7,
        "",
        "not json",
        "[1]",
        "{}",
        '{"source_dataset": 7}',
        {},
        {"source": "chain_sum"},
    ],
)
def test_metadata_must_be_reasoning_gyms(metadata: Any) -> None:
    columns = {"answer": ["7", "7"], "metadata": [{"source_dataset": "chain_sum"}, metadata]}
    with pytest.raises(ValueError, match="reasoning_gym: row 1 of column 'metadata' must hold"):
        ReasoningGym()(["7", "7"], **columns)


def test_an_unknown_task_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="does not have: 'chainsum'; did you mean 'chain_sum'"):
        ReasoningGym()(["7"], **row("chainsum"))


@pytest.mark.parametrize("missing", ["answer", "metadata"])
def test_a_column_must_be_there(missing: str) -> None:
    columns = row("chain_sum")
    del columns[missing]
    with pytest.raises(ValueError, match=f"no column '{missing}' in the dataset"):
        ReasoningGym()(["7"], **columns)


def test_without_the_package_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ValueError, match=r"not installed; pip install 'rlent\[quickstart\]'"):
        ReasoningGym()


@pytest.mark.parametrize("option", ["timeout", "memory_mb", "workers"])
def test_limits_must_be_positive(option: str) -> None:
    given: Any = 0.0 if option == "timeout" else 0
    with pytest.raises(ValueError, match=f"reasoning_gym: {option} must be positive"):
        ReasoningGym(**{option: given})


def test_an_unknown_extraction_is_refused() -> None:
    reward = ReasoningGym()
    # The type checker of the test run would stop the constructor before the check under test.
    object.__setattr__(reward, "extract", "last_number")
    with pytest.raises(ValueError, match="reasoning_gym: extract must be one of auto"):
        reward.__post_init__()


@pytest.mark.slow
def test_every_task_gives_its_own_answer_a_full_score() -> None:
    """Through JSON, which keeps no tuples, and with the default options."""
    from reasoning_gym.factory import DATASETS

    reward = ReasoningGym(extract="whole")
    for task in DATASETS:
        if task == "composite":
            continue
        answer, columns, _ = generated(task)
        if answer is not None:
            assert reward([answer], **columns) == [1.0], task
