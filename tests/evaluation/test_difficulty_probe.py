"""The probe of difficulty labels: its fit, the hidden states it reads, and the command's line about it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rlent.data import prompt_ids
from rlent.errors import ConfigError
from rlent.evaluation import difficulty_probe, in_order, write_answers
from rlent.evaluation.difficulty import Difficulty, DifficultyThresholds
from rlent.evaluation.difficulty_probe import DifficultyProbe, fit_probe, load_probe, predict
from rlent.evaluation.prompt_states import prompt_states
from rlent.launch.cli import main
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


def saved_probe(folder: Path, *, width: int = 4) -> DifficultyProbe:
    states, labels = corners(width=width, count=8, seed=1)
    probe = DifficultyProbe(
        network=fit_probe(states, labels),
        thresholds=DifficultyThresholds(alpha=0.5, beta=0.4, gamma=0.25),
        model="tiny",
        revision="abc",
    )
    probe.save(folder)
    return probe


def test_a_probe_survives_its_folder(tmp_path: Path) -> None:
    probe = saved_probe(tmp_path / "new" / "probe")
    found = load_probe(tmp_path / "new" / "probe", key="k")
    states, _ = corners(width=4, count=40, seed=2)
    assert found.labels(states) == probe.labels(states)
    assert len(set(found.labels(states))) > 1
    assert found.identity == probe.identity
    assert (found.model, found.revision, found.thresholds) == ("tiny", "abc", probe.thresholds)
    assert json.loads((tmp_path / "new" / "probe" / "probe.json").read_text()) == {
        "model": "tiny",
        "revision": "abc",
        "hidden_size": 4,
        "labels": ["easy", "normal", "hard"],
        "thresholds": {"alpha": 0.5, "beta": 0.4, "gamma": 0.25},
    }
    tensors = load_file(tmp_path / "new" / "probe" / "probe.safetensors")
    assert {name: tuple(values.shape) for name, values in tensors.items()} == {
        "0.weight": (4, 4),
        "0.bias": (4,),
        "2.weight": (3, 4),
        "2.bias": (3,),
    }


def test_one_weight_tells_a_probe_from_another(tmp_path: Path) -> None:
    probe = saved_probe(tmp_path / "probe")
    before = probe.identity
    with torch.no_grad():
        next(probe.network.parameters())[0, 0] += 1e-3
    assert probe.identity != before


@pytest.mark.parametrize("key", ["model", "revision", "hidden_size", "labels", "thresholds"])
def test_a_missing_key_is_named(key: str, tmp_path: Path) -> None:
    saved_probe(tmp_path / "probe")
    path = tmp_path / "probe" / "probe.json"
    described = json.loads(path.read_text())
    del described[key]
    path.write_text(json.dumps(described))
    with pytest.raises(ConfigError, match=f"has no {key}") as caught:
        load_probe(tmp_path / "probe", key="evaluation.difficulty")
    assert caught.value.key == "evaluation.difficulty"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"thresholds": {"alpha": 0.5, "gamma": 0.2}}, "has no beta"),
        ({"thresholds": {"alpha": 1.5, "beta": 1.0, "gamma": 0.2}}, "not an accuracy"),
        ({"thresholds": None}, "has no alpha, beta, gamma"),
        ({"labels": ["hard", "normal", "easy"]}, "not those of the outputs"),
        ({"hidden_size": 0}, "no size"),
        ({"hidden_size": "4"}, "no size"),
        ({"hidden_size": 5}, "weights of a probe on 5 numbers"),
    ],
)
def test_a_wrong_description_is_refused(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    saved_probe(tmp_path / "probe")
    path = tmp_path / "probe" / "probe.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ConfigError, match=said):
        load_probe(tmp_path / "probe", key="k")


def test_files_that_are_not_a_probes_are_refused(tmp_path: Path) -> None:
    def refused() -> str:
        with pytest.raises(ConfigError) as caught:
            load_probe(tmp_path / "probe", key="k")
        return str(caught.value)

    assert "not the folder of a probe" in refused()
    saved_probe(tmp_path / "probe")
    (tmp_path / "probe" / "probe.safetensors").write_bytes(b"no weights")
    assert "does not hold the weights" in refused()
    (tmp_path / "probe" / "probe.safetensors").unlink()
    assert "does not hold the weights" in refused()
    (tmp_path / "probe" / "probe.json").write_text("{")
    assert "is not JSON" in refused()
    (tmp_path / "probe" / "probe.json").write_text("[]")
    assert "has no model, revision" in refused()


def test_the_command_saves_a_probe_of_all_problems(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is tried is fitted on the first half, which knows one label; what is saved knows both."""
    scores = [0.0] * 4 + [1.0] * 5
    folder, output = evaluated(tmp_path / "set", scores), tmp_path / "rows"
    given = ["difficulty", str(folder), *GIVEN, "-o", str(output), "--probe", str(tiny_folder)]
    saved = tmp_path / "new" / "probe"
    assert main([*given, "--save-probe", str(saved)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-3:] == [
        "probe   fitted on 4 problems: 0 of 5 others right, 0 by always saying hard",
        f"Wrote a probe fitted on all 9 problems to {saved}",
        f"Wrote 9 problems to {output}",
    ]
    found = load_probe(saved, key="k")
    assert (found.model, found.revision) == (str(tiny_folder.resolve()), None)
    assert found.thresholds == DifficultyThresholds(alpha=0.5, beta=0.4, gamma=0.25)
    tokenizer = tiny_tokenizer()
    prompts = [prompt_ids(f"{place} + 1 =", tokenizer) for place in range(9)]
    states = prompt_states(tiny_model(), prompts)
    wanted: list[Difficulty] = ["hard" if score == 0 else "normal" for score in scores]
    assert found.labels(states) == predict(fit_probe(states, wanted), states)


def test_what_cannot_be_saved_writes_nothing(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = evaluated(tmp_path / "set", [1.0, 0.0]), tmp_path / "rows"
    given = ["difficulty", str(folder), *GIVEN, "-o", str(output), "--save-probe"]
    assert main([*given, str(tmp_path / "probe")]) == 2
    message = capsys.readouterr().err
    assert "--save-probe: a probe reads the hidden states of a model" in message
    assert "name the model with --probe" in message
    assert main([*given, str(folder), "--probe", str(tiny_folder)]) == 2
    assert "--save-probe: the folder exists" in capsys.readouterr().err
    assert not output.exists()
    assert not (tmp_path / "probe").exists()
