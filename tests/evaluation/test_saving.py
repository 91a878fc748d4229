"""Tokens that an early stop saves, against an evaluation without the rule."""

import math
from pathlib import Path

from rlent.evaluation import Chunk, in_order, read_answers, result_table, set_result, write_answers
from rlent.rollout import Tally
from rlent.rollout.decoding import ThinkJustEnough
from tests.evaluation.examples import all_answers, answerer, sums


def test_saved_tokens_are_those_of_the_same_completions_without_the_rule(tmp_path: Path) -> None:
    rule = ThinkJustEnough(threshold=2.9, step_tokens=2)
    plain = in_order(all_answers(sums(samples=4, temperature=0.7)))
    problems = sums(samples=4, temperature=0.7, decoding=rule)
    made = in_order(all_answers(problems))
    stops = saved = 0
    for one, other in zip(made, plain, strict=True):
        if one.sample is None:
            assert one == other
            continue
        stopped = one.finish == "stop"
        saving = other.length - one.length
        assert one.length == 2 if stopped else one.completion == other.completion
        assert one.tallies == (
            Tally(name="stopped", count=int(stopped), of=1),
            Tally(name="saved_tokens", count=saving, of=other.length),
        )
        stops, saved = stops + stopped, saved + saving
    assert 0 < stops < 28
    result = set_result(problems, made)
    tallies = result.texts["sampled"].tallies
    whole = sum(one.length for one in plain if one.sample is not None)
    assert tallies == {"stopped": stops / 28, "saved_tokens": saved / whole}
    assert result.texts["greedy"].tallies == {}
    assert result.logged()["eval/sums/sampled/saved_tokens"] == saved / whole
    line = f"sums, sampled: stopped {stops / 28:.1%}, saved_tokens {saved / whole:.1%}"
    assert line in result_table([result]).splitlines()
    write_answers(tmp_path / "answers.parquet", made)
    assert read_answers(tmp_path / "answers.parquet") == made


def test_counting_can_be_left_out() -> None:
    rule = ThinkJustEnough(threshold=math.inf, step_tokens=1, count_saved=False)
    problems = sums(2, samples=2, decoding=rule)
    for answer in answerer().answer(problems, Chunk(kind="sampled", start=0, stop=2)):
        assert answer.length == 1
        assert [tally.name for tally in answer.tallies] == ["stopped"]
