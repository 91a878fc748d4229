"""The probe of difficulty labels: its fit, the hidden states it reads, and the command's line about it."""

import json
from pathlib import Path

import pytest
import torch

from rlent.data import prompt_ids
from rlent.evaluation import difficulty_probe, in_order, write_answers
from rlent.evaluation.difficulty import Difficulty
from rlent.evaluation.difficulty_probe import fit_probe, predict
from rlent.launch.cli import main
from rlent.launch.difficulty_probe import prompt_states
from tests.evaluation.examples import make_answer
from tests.tiny import tiny_model, tiny_tokenizer

CORNERS: list[tuple[float, float, Difficulty]] = [
    (3.0, 3.0, "easy"),
    (-3.0, -3.0, "easy"),
    (3.0, -3.0, "hard"),
    (-3.0, 3.0, "normal"),
]


def corners(*, width: int, count: int, seed: int) -> tuple[torch.Tensor, list[Difficulty]]:
    """Points around four corners; no line parts those of `easy` from the others."""
    states = 0.3 * torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    labels: list[Difficulty] = []
    for row in range(count):
        x, y, label = CORNERS[row % 4]
        states[row, 0] += x
        states[row, 1] += y
        labels.append(label)
    return states, labels


def test_corners_that_no_line_parts_are_learnt() -> None:
    probe = fit_probe(*corners(width=64, count=80, seed=1))
    states, labels = corners(width=64, count=80, seed=2)
    assert predict(probe, states) == labels


def test_the_seed_alone_says_the_first_weights_and_the_global_state_stays() -> None:
    states, labels = corners(width=4, count=8, seed=1)
    before = torch.random.get_rng_state()
    one = fit_probe(states, labels, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(5)
    again, other = fit_probe(states, labels, seed=3), fit_probe(states, labels, seed=4)
    first, same, different = (each.state_dict()["0.weight"] for each in (one, again, other))
    assert torch.equal(first, same)
    assert not torch.equal(first, different)


def test_the_fit_is_a_hundred_steps_of_adamw_on_the_cross_entropy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Gradients by the chain rule and the update written out."""
    states, labels = corners(width=3, count=6, seed=1)
    states = states.double()
    fitted = fit_probe(states, labels)
    monkeypatch.setattr(difficulty_probe, "EPOCHS", 0)
    w1, b1, w2, b2 = (value.detach().clone() for value in fit_probe(states, labels).parameters())
    wanted = torch.zeros(6, 3, dtype=torch.float64)
    for row, label in enumerate(labels):
        wanted[row, {"easy": 0, "normal": 1, "hard": 2}[label]] = 1
    values = [w1, b1, w2, b2]
    first, second = [torch.zeros_like(v) for v in values], [torch.zeros_like(v) for v in values]
    for step in range(1, 101):
        before = states @ w1.T + b1
        inner = before.clamp(min=0)
        weights = (inner @ w2.T + b2).exp()
        error = (weights / weights.sum(1, keepdim=True) - wanted) / 6
        back = (error @ w2) * (before > 0)
        gradients = [back.T @ states, back.sum(0), error.T @ inner, error.sum(0)]
        for value, m, v, g in zip(values, first, second, gradients, strict=True):
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.999).add_(0.001 * g * g)
            value -= 1e-3 * 0.01 * value
            size = (v / (1 - 0.999**step)).sqrt() + 1e-8
            value -= 1e-3 * (m / (1 - 0.9**step)) / size
    for value, found in zip(values, fitted.parameters(), strict=True):
        assert torch.allclose(found, value, rtol=1e-8, atol=1e-10)


def test_states_are_those_of_the_last_prompt_token() -> None:
    model, tokenizer = tiny_model().eval(), tiny_tokenizer()
    prompts = [prompt_ids(text, tokenizer) for text in ("1 + 2 =", "1 + 2 + 3 =")]
    states = prompt_states(model, prompts)
    for ids, state in zip(prompts, states, strict=True):
        with torch.no_grad():
            everything = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        assert torch.allclose(state, everything[-1][0, len(ids) - 1], atol=1e-6)


def evaluated(folder: Path, scores: list[float]) -> Path:
    answers = [
        make_answer(place, 0, prompt=f"{place % 10} + 1 =", score=score, entropy=0.1)
        for place, score in enumerate(scores)
    ]
    write_answers(folder / "completions" / "sampled-0.parquet", in_order(answers))
    (folder / "settings.json").write_text(json.dumps({"length": 10, "budget": None}))
    return folder


GIVEN = ["--alpha", "0.5", "--beta", "0.4", "--gamma", "0.25"]


def test_the_command_tries_the_probe_on_the_second_half(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One label alone in the first half is what the probe predicts."""
    folder, output = (
        evaluated(tmp_path / "set", [0.0] * 4 + [1.0, 0.0, 1.0, 1.0, 0.0]),
        tmp_path / "rows",
    )
    given = ["difficulty", str(folder), *GIVEN, "-o", str(output), "--probe", str(tiny_folder)]
    assert main(given) == 0
    assert capsys.readouterr().out.splitlines()[-2] == (
        "probe   fitted on 4 problems: 2 of 5 others right, 2 by always saying hard"
    )


def test_a_probe_of_one_problem_is_refused(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = evaluated(tmp_path / "set", [1.0]), tmp_path / "rows"
    given = ["difficulty", str(folder), *GIVEN, "-o", str(output), "--probe", str(tiny_folder)]
    assert main(given) == 2
    assert "two problems at least" in capsys.readouterr().err
    assert not output.exists()
