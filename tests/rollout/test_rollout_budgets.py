"""Where thinking is cut, what is forced there, and what every token of a row is."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch

from rlent.errors import ConfigError
from rlent.rollout import Budgets, Completion, RolloutEngine, Sampling
from rlent.rollout.budgets import ForcedTokens, Summary, summarise
from tests.tiny import tiny_model, tiny_tokenizer

SAMPLING = Sampling(max_new_tokens=99, temperature=0.7, eos_token_ids=(1,), stop_strings=("x",))
FORCED = ForcedTokens(cut=(90, 91), answer_prefix=(95,))
BUDGETS = Budgets(levels=(2, 4, 6), summaries=2, summary_length=3)


def completion(tokens: Sequence[int], finish: Any) -> Completion:
    ids = torch.tensor(tokens)
    return Completion(
        prompt=0,
        index=0,
        token_ids=ids,
        log_probs=-ids.float(),
        entropies=ids.float() / 10,
        truncated_log_probs=-ids.float(),
        finish=finish,
        parent=None,
        branch_step=None,
    )


def rows_of(
    traces: list[Completion], budgets: Budgets = BUDGETS
) -> tuple[list[list[Summary]], list[list[int]]]:
    """The rows, and the prompts of summaries; these are two tokens, numbered on."""
    asked: list[list[int]] = []

    def generate(prompts: list[list[int]]) -> list[Completion]:
        asked.extend(prompts)
        return [completion([50 + number, 1], "eos") for number in range(len(prompts))]

    prompts = [[7, number] for number in range(len(traces))]
    return summarise(prompts, traces, budgets, FORCED, generate), asked


def test_settings_of_the_two_calls() -> None:
    thinking, summarising = BUDGETS.thinking(SAMPLING), BUDGETS.summarising(SAMPLING)
    assert (thinking.max_new_tokens, thinking.stop_strings) == (6, ("</think>",))
    assert (summarising.max_new_tokens, summarising.stop_strings) == (3, ("x",))
    assert thinking.temperature == summarising.temperature == 0.7
    to_the_end = Budgets(levels=(4,), thinking_end=None)
    assert to_the_end.thinking(SAMPLING).stop_strings == ()


def test_a_trace_that_never_ends_is_cut_at_every_budget() -> None:
    (rows,), asked = rows_of([completion([11, 12, 13, 14, 15, 16], "length")])
    cut = [
        [7, 0, 11, 12, 90, 91, 95],
        [7, 0, 11, 12, 13, 14, 90, 91, 95],
        [7, 0, 11, 12, 13, 14, 15, 16, 90, 91, 95],
    ]
    assert asked == [prompt for prompt in cut for _ in range(2)]
    assert [row.token_ids.tolist() for row in rows] == [
        [*prompt[2:], 50 + number, 1] for number, prompt in enumerate(asked)
    ]
    assert [row.level for row in rows] == [row.reached for row in rows] == [0, 0, 1, 1, 2, 2]


def test_the_numbers_of_a_row_are_the_policys_and_zero_where_it_was_forced() -> None:
    (rows,), _ = rows_of([completion([11, 12, 13, 14, 15, 16], "length")])
    row = rows[2]
    assert row.log_probs.tolist() == [-11, -12, -13, -14, 0, 0, 0, -52, -1]
    assert row.entropies.tolist() == pytest.approx([1.1, 1.2, 1.3, 1.4, 0, 0, 0, 5.2, 0.1])


def test_a_trace_that_has_ended_is_not_cut_and_not_thought_on() -> None:
    (rows,), asked = rows_of([completion([11, 12, 13], "stop")])
    first, whole = [7, 0, 11, 12, 90, 91, 95], [7, 0, 11, 12, 13, 95]
    assert asked == [first] * 2 + [whole] * 4
    assert [row.level for row in rows] == [0, 0, 1, 1, 2, 2]
    assert [row.reached for row in rows] == [0, 0, 1, 1, 1, 1]
    assert [row.forced for row in rows] == [3, 3, 1, 1, 1, 1]
    assert {row.prefixed for row in rows} == {1}


@pytest.mark.parametrize("length", [2, 4, 6])
def test_a_trace_that_ends_with_a_budget_is_whole_there(length: int) -> None:
    (rows,), _ = rows_of([completion(range(11, 11 + length), "stop")])
    assert [row.forced for row in rows[::2]] == [1 if length <= level else 3 for level in (2, 4, 6)]
    assert [row.reached for row in rows[::2]] == [min(level, length // 2 - 1) for level in range(3)]


def test_a_trace_that_stopped_without_ending_its_thinking_is_told_to_end_it() -> None:
    (rows,), asked = rows_of([completion([11, 12, 1], "eos")])
    assert asked[2] == [7, 0, 11, 12, 1, 90, 91, 95]
    assert [row.reached for row in rows] == [0, 0, 1, 1, 1, 1]


def test_thinking_may_end_with_the_end_of_sequence_token() -> None:
    budgets = Budgets(levels=(2, 4), summaries=1, thinking_end=None)
    (rows,), _ = rows_of([completion([11, 12, 1], "eos")], budgets)
    assert [row.forced for row in rows] == [3, 1]


def test_what_rewards_see_and_what_the_policy_drew() -> None:
    (rows,), _ = rows_of([completion([11, 12, 13], "stop")])
    assert [row.judged for row in rows[:3]] == [[95, 50, 1], [95, 51, 1], [95, 52, 1]]
    assert rows[0].sampled.tolist() == [True, True, False, False, False, True, True]
    assert {row.finish for row in rows} == {"eos"}


def test_segments() -> None:
    (rows,), _ = rows_of([completion([11, 12, 13, 14, 15], "stop")])
    last = rows[-1].segments((2, 4, 6), learns_thinking=True)
    assert last.tolist() == [0, 0, 1, 1, 2, -1, 3, 3]
    other = rows[2].segments((2, 4, 6), learns_thinking=False)
    assert other.tolist() == [-1, -1, -1, -1, -1, -1, -1, 3, 3]


def test_rows_are_by_trace() -> None:
    rows, _ = rows_of([completion([11, 12, 13], "stop"), completion([21], "stop")])
    assert [[row.trace for row in each] for each in rows] == [[0] * 6, [1] * 6]
    assert [row.token_ids.tolist() for row in rows[1]] == [
        [21, 95, number, 1] for number in range(56, 62)
    ]


def test_with_the_engine_a_cut_is_a_prefix_of_the_trace_and_summaries_differ() -> None:
    tokenizer, model = tiny_tokenizer(), tiny_model()
    budgets = Budgets(
        levels=(3, 6),
        summaries=3,
        summary_length=4,
        thinking_end="so",
        cut="so",
        answer_prefix="answer is",
    )
    forced = ForcedTokens.of(budgets, tokenizer)
    assert (len(forced.cut), len(forced.answer_prefix), forced.most) == (1, 2, 3)
    sampling = Sampling(max_new_tokens=1, eos_token_ids=(1,))
    prompts = [[5, 15, 6], [8, 9]]

    def generate(prompts: list[list[int]], settings: Sampling, seed: int) -> Sequence[Completion]:
        engine = RolloutEngine(model=model, sampling=settings, tokenizer=tokenizer)
        return engine.generate(prompts, seed=seed).completions

    traces = generate(prompts, budgets.thinking(sampling), 5)
    write = partial(generate, settings=budgets.summarising(sampling), seed=6)
    for rows in summarise(prompts, traces, budgets, forced, write):
        longest = rows[-1].token_ids[: rows[-1].thinking]
        for row in rows:
            assert row.thinking <= budgets.levels[row.level]
            assert torch.equal(row.token_ids[: row.thinking], longest[: row.thinking])
            behind = row.token_ids[row.thinking :].tolist()
            assert behind[: row.forced][-2:] == list(forced.answer_prefix)
            assert 1 <= len(behind) - row.forced <= 4
        assert len({tuple(row.token_ids.tolist()) for row in rows[:3]}) > 1


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"levels": ()}, "levels"),
        ({"levels": (0, 2)}, "levels"),
        ({"levels": (4, 2)}, "levels"),
        ({"levels": (2, 2)}, "levels"),
        ({"levels": (2,), "summaries": 0}, "summaries"),
        ({"levels": (2,), "summary_length": 0}, "summary_length"),
        ({"levels": (2,), "thinking_end": ""}, "thinking_end"),
    ],
)
def test_impossible_budgets_are_refused(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Budgets(**options)


def test_a_forced_text_must_be_in_the_vocabulary() -> None:
    budgets = Budgets(levels=(2,), thinking_end="so", cut="so", answer_prefix="nonsense")
    with pytest.raises(ConfigError, match="no token") as caught:
        ForcedTokens.of(budgets, tiny_tokenizer())
    assert caught.value.key == "rollout.budgets.answer_prefix"
