"""Problems answered at the settings of the difficulty that a probe predicts, against plain loops."""

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from rlent.errors import ConfigError
from rlent.evaluation import (
    Answer,
    ProblemSet,
    in_order,
    read_answers,
    result_table,
    set_result,
    write_answers,
    write_summary,
)
from rlent.evaluation.difficulty import DifficultyThresholds
from rlent.evaluation.difficulty_probe import DifficultyProbe
from rlent.rollout import Budgets
from rlent.rollout.decoding import Typical
from rlent.rollout.streams import sequence_key, uniform
from tests.evaluation.examples import all_answers, sums
from tests.tiny import tiny_model, tiny_tokenizer

LENGTH = 9
SHARES = {"easy": (0.5, 3), "normal": (0.8, 9), "hard": (0.4, 4)}
"""Temperature, and 0.4, 1 and 0.5 of nine tokens, rounded down."""
SAMPLES = 3


def probe(width: int = 32, seed: int = 5) -> DifficultyProbe:
    """Of this seed, the probe says every label of some sums."""
    torch.manual_seed(seed)
    return DifficultyProbe(
        network=nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)),
        thresholds=DifficultyThresholds(alpha=0.5, beta=0.4, gamma=0.25),
        model="tiny",
        revision=None,
    )


def by_difficulty(**settings: object) -> ProblemSet:
    given = {"samples": SAMPLES, "length": LENGTH, "difficulty": probe(), "seed": 3}
    return sums(**(given | settings))  # pyright: ignore[reportArgumentType]


def label_by_hand(ids: list[int]) -> str:
    """Two layers in plain Python, on the state that the model's head would see."""
    model = tiny_model().eval()
    with torch.no_grad():
        state = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1]
    w1, b1, w2, b2 = (values.tolist() for values in probe().network.state_dict().values())
    x = state.double().tolist()
    inner = [
        max(sum(w * v for w, v in zip(row, x, strict=True)) + b, 0.0)
        for row, b in zip(w1, b1, strict=True)
    ]
    scores = [
        sum(w * v for w, v in zip(row, inner, strict=True)) + b
        for row, b in zip(w2, b2, strict=True)
    ]
    return ["easy", "normal", "hard"][scores.index(max(scores))]


def text_by_hand(ids: list[int], place: int, sample: int | None, label: str) -> str:
    """One forward pass over everything per token, at the label's temperature and up to its limit."""
    model, tokenizer = tiny_model().eval(), tiny_tokenizer()
    temperature, limit = SHARES[label]
    tokens: list[int] = []
    while len(tokens) < limit and 1 not in tokens:
        with torch.no_grad():
            logits = model(torch.tensor([ids + tokens])).logits[0, -1].double().tolist()
        if sample is None:
            tokens.append(logits.index(max(logits)))
            continue
        weights = [math.exp(value / temperature) for value in logits]
        target = uniform(sequence_key(3, place, sample), len(tokens)) * sum(weights)
        tokens.append(
            next(token for token in range(len(weights)) if sum(weights[: token + 1]) > target)
        )
    return str(tokenizer.decode(tokens, skip_special_tokens=True))


@pytest.mark.parametrize("batch_size", [4, 64])
def test_every_problem_is_answered_at_the_settings_of_its_label(batch_size: int) -> None:
    problems, tokenizer = by_difficulty(batch_size=batch_size), tiny_tokenizer()
    answers = in_order(all_answers(problems))
    assert len(answers) == 7 * (1 + SAMPLES)
    for answer in answers:
        ids = tokenizer(problems.rows[answer.problem]["prompt"])["input_ids"]
        label = label_by_hand(ids)
        temperature, limit = SHARES[label]
        assert (answer.difficulty, answer.limit) == (label, limit)
        assert answer.temperature == (0.0 if answer.sample is None else temperature)
        assert answer.completion == text_by_hand(ids, answer.problem, answer.sample, label)
        assert answer.finish == ("length" if answer.length == limit else "eos")
    assert {answer.difficulty for answer in answers} == set(SHARES)


def test_without_a_probe_nothing_is_said_of_settings() -> None:
    for answer in all_answers(sums(2, samples=2)):
        assert (answer.difficulty, answer.temperature, answer.limit) == (None, None, None)


def test_labels_are_the_same_whatever_the_type_of_the_arithmetic_around_the_probe() -> None:
    states = torch.randn(50, 32, generator=torch.Generator().manual_seed(0))
    alone = probe().labels(states)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert probe().labels(states) == alone


def test_costs_are_counted_by_a_loop(tmp_path: Path) -> None:
    problems = by_difficulty()
    answers = in_order(all_answers(problems))
    result = set_result(problems, answers)
    expected = {
        "problems": {"easy": 0, "normal": 0, "hard": 0},
        "tokens": {
            kind: {"spent": 0, "of_plain_limit": 0.0, "allowed": 0.0}
            for kind in ("greedy", "sampled")
        },
    }
    limits, most = Counter[str](), Counter[str]()
    for answer in answers:
        kind = "greedy" if answer.sample is None else "sampled"
        assert answer.difficulty is not None
        if answer.sample is None:
            expected["problems"][answer.difficulty] += 1
        expected["tokens"][kind]["spent"] += answer.length
        limits[kind] += SHARES[answer.difficulty][1]
        most[kind] += LENGTH
    for kind, costs in expected["tokens"].items():
        costs["of_plain_limit"] = costs["spent"] / most[kind]
        costs["allowed"] = limits[kind] / most[kind]
    write_summary(tmp_path, [result])
    summary = json.loads((tmp_path / "summary.json").read_text())["sums"]
    assert summary["difficulty"] == expected
    assert all(expected["problems"].values())
    counts = expected["problems"]
    sampled = expected["tokens"]["sampled"]
    lines = result_table([result]).splitlines()
    assert (
        f"sums, problems: {counts['easy']} easy, {counts['normal']} normal, {counts['hard']} hard"
        in lines
    )
    assert (
        f"sums, sampled: {sampled['spent']} tokens, {sampled['of_plain_limit']:.1%} of the plain limit, "
        f"of which {sampled['allowed']:.1%} are allowed"
    ) in lines


def test_a_set_without_a_probe_has_no_costs(tmp_path: Path) -> None:
    problems = sums(2)
    result = set_result(problems, all_answers(problems))
    write_summary(tmp_path, [result])
    assert "difficulty" not in json.loads((tmp_path / "summary.json").read_text())["sums"]
    assert "plain limit" not in result_table([result])


def test_greedy_answers_alone_have_costs_as_well() -> None:
    problems = by_difficulty(samples=0)
    costs = set_result(problems, all_answers(problems)).difficulty
    assert costs is not None
    assert list(costs.tokens) == ["greedy"]


def test_settings_survive_their_file(tmp_path: Path) -> None:
    answers = all_answers(by_difficulty())
    write_answers(tmp_path / "a.parquet", answers)
    assert read_answers(tmp_path / "a.parquet") == answers
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert {(row["difficulty"], row["limit"]) for row in rows} == {
        (label, limit) for label, (_, limit) in SHARES.items()
    }


def test_files_from_before_there_were_labels_are_read(tmp_path: Path) -> None:
    answers = all_answers(sums(2))
    write_answers(tmp_path / "new.parquet", answers)
    names = ["difficulty", "temperature", "limit"]
    pq.write_table(pq.read_table(tmp_path / "new.parquet").drop_columns(names), tmp_path / "old")
    found: list[Answer] = read_answers(tmp_path / "old")
    assert found == answers


def test_neither_budgets_nor_a_decoding_rule() -> None:
    with pytest.raises(ConfigError) as caught:
        by_difficulty(budget=Budgets(levels=(3,)))
    assert caught.value.key == "evaluation.difficulty"
    with pytest.raises(ConfigError, match="one temperature for all"):
        all_answers(replace(by_difficulty(), decoding=Typical()))
