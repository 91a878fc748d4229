"""``rlent inspect`` as a user types it, its numbers against the model's own logits."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from rlent.launch.cli import main
from rlent.launch.scoring import score_tokens
from rlent.tracking import read_metrics, read_rollouts
from tests.tiny import tiny_model

SHORT = ["data.style=plain", "trainer.max_completion_length=6", "trainer.num_generations=4"]
DIGITS = 'python_function: {function: "tests.trainer.helpers:digits_reward"}'
"""A reward that differs between completions of an untrained model."""


def inspect(model: Path, *arguments: str, overrides: list[str] = SHORT) -> int:
    return main(["inspect", str(model), *overrides, "--prompts", "additions.jsonl", *arguments])


def test_every_intervention_alone_and_together(
    workplace: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fraction = "forking_tokens: {fraction: 0.25}"
    arguments = ["--size", "3", "--rewards", DIGITS, "--interventions", fraction, "steer"]
    assert inspect(tiny_folder, *arguments) == 0
    shown = capsys.readouterr().out
    assert "| | plain-GRPO | forking_tokens | steer | together |" in shown
    assert "recorded selection" not in shown
    folder = Path("inspections/tiny")
    assert (folder / "report.html").exists()
    plain, forks, steered, both = (
        read_rollouts(folder / name / "rollouts")
        for name in ("plain-GRPO", "forking_tokens", "steer", "together")
    )
    tokens = sum(len(row["token"]) for row in plain)
    assert len(plain) == 12
    assert sum(sum(row["selected"]) for row in forks) == math.ceil(tokens / 4)
    assert [row["token_id"] for row in plain] == [row["token_id"] for row in both]
    assert all(row["weight"] == [1.0] * len(row["token"]) for row in plain)
    assert min(weight for row in steered for weight in row["weight"]) < 1.0
    (line,) = read_metrics(folder / "together" / "metrics.jsonl")
    assert line["effect/selected_share"] == pytest.approx(math.ceil(tokens / 4) / tokens)
    assert {"forking_tokens/kept_share", "steer/weight", "entropy", "reward"} <= line.keys()


def test_the_effect_on_entropy_is_that_of_the_logits(workplace: Path, tiny_folder: Path) -> None:
    """Log-probability, entropy and its change by a small step on the logits, in float64 from the model's own logits."""
    options = [*SHORT, "trainer.temperature=0.8", "engine.precision=float32"]
    arguments = ["--size", "2", "--rewards", DIGITS, "-o", "out"]
    assert inspect(tiny_folder, *arguments, overrides=options) == 0
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_folder)
    rows = read_rollouts(Path("out/plain-GRPO/rollouts"))
    tokenizer_ids = _prompt_ids(tiny_folder, rows)
    pushed = 0
    for row, prompt in zip(rows, tokenizer_ids, strict=True):
        ids = torch.tensor([[*prompt, *row["token_id"]]])
        with torch.no_grad():
            logits = model(ids).logits[0].double() / 0.8
        for t, token in enumerate(row["token_id"]):
            z = logits[len(prompt) - 1 + t]
            assert row["logp"][t] == pytest.approx(z.log_softmax(0)[token].item(), abs=1e-4)
            assert row["entropy"][t] == pytest.approx(_entropy(z), abs=1e-4)
            push, step = row["advantage"][t], 1e-5
            direction = -z.softmax(0)
            direction[token] += 1
            change = _entropy(z + step * push * direction) - _entropy(z - step * push * direction)
            assert row["entropy_effect"][t] == pytest.approx(change / (2 * step), abs=1e-4)
            pushed += push != 0
    assert pushed > 10


def _entropy(z: torch.Tensor) -> float:
    return -(z.softmax(0) * z.log_softmax(0)).sum().item()


def _prompt_ids(folder: Path, rows: list[dict[str, Any]]) -> list[list[int]]:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    return [tokenizer(row["prompt"])["input_ids"] for row in rows]


def test_scores_do_not_depend_on_the_neighbours() -> None:
    model = tiny_model().eval()
    sequences = [([5, 6, 7], [8, 9]), ([5], [6, 7, 8, 9, 10]), ([9, 8], [7])]
    together = score_tokens(model, sequences, 1.0)
    for sequence, stats in zip(sequences, together, strict=True):
        (alone,) = score_tokens(model, [sequence], 1.0)
        assert stats.log_probs.shape == (len(sequence[1]),)
        for name in ("log_probs", "entropy", "entropy_change"):
            assert torch.allclose(getattr(stats, name), getattr(alone, name), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--interventions", "steers"], "did you mean: steer"),
        (["--interventions", "kl_anchor"], "reference policy"),
        (["--rewards", "math_answers"], "did you mean: math_answer"),
        (["--size", "0"], "a prompt is needed"),
        (["-o", "additions.jsonl"], "there is something already"),
    ],
)
def test_mistakes_are_found_before_anything_is_sampled(
    workplace: Path,
    tiny_folder: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert inspect(tiny_folder, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not Path("inspections").exists()


def test_files_and_models_that_are_not_there(
    workplace: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(tiny_folder), "--prompts", "no.jsonl"]) == 2
    assert "no.jsonl" in capsys.readouterr().err
    assert inspect(Path("no-such-model")) == 2
    assert "no-such-model" in capsys.readouterr().err
    Path("bare.jsonl").write_text(json.dumps({"question": "why ?"}) + "\n")
    assert main(["inspect", str(tiny_folder), "--prompts", "bare.jsonl"]) == 2
    assert "answer" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["inspect", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for part in ("--prompts problems.jsonl", "exact over the vocabulary", "inspections/MODEL"):
        assert part in shown
