"""Rules that only an evaluation can have, from a recipe: stopping early, soft inputs, a second model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlent.launch.cli import main
from tests.tiny import tiny_model, tiny_tokenizer

Recipe = dict[str, Any]
Write = Callable[[Recipe], str]


def evaluated(recipe: str, rule: str, output: str = "made") -> dict[str, float]:
    """The tallies of an evaluation."""
    command = ["eval", recipe, "--samples", "3", "--output", output]
    assert main([*command, f"evaluation.decoding={rule}"]) == 0
    summary = json.loads(Path(output, "summary.json").read_text())["held_out"]
    assert summary["greedy"]["tallies"] == {}
    return summary["sampled"]["tallies"]


def test_an_early_stop_reports_what_it_saved(
    recipe: Recipe, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    tallies = evaluated(write(recipe), "{think_just_enough: {threshold: .inf, step_tokens: 1}}")
    assert tallies["stopped"] > 0.5
    assert tallies["saved_tokens"] > 0.3
    shown = capsys.readouterr().out
    assert f"held_out, sampled: stopped {tallies['stopped']:.1%}, saved_tokens" in shown


def test_soft_inputs(recipe: Recipe, write: Write) -> None:
    rule = "{swi_reasoning: {window: 2, end: so, first: then}}"
    assert 0 < evaluated(write(recipe), rule)["soft_inputs"] < 1


def second_model(folder: Path, words: list[str] | None = None) -> Path:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(words or [])
    tiny_model(seed=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_second_model(
    recipe: Recipe, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, written = second_model(tmp_path / "large"), write(recipe)
    for threshold, share in (("-.inf", 1.0), (".inf", 0.0)):
        rule = (
            f"{{two_models: {{large_model: {folder}, threshold_bits: {threshold}, min_dwell: 1}}}}"
        )
        assert evaluated(written, rule, f"at{threshold}") == {"large_model_tokens": share}
    second_model(folder)
    capsys.readouterr()
    command = ["eval", written, "--samples", "3", "--output", "at.inf"]
    assert main([*command, f"evaluation.decoding={rule}"]) == 2
    assert "another large_weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rule", "key", "said"),
    [
        (
            "{two_models: {large_model: ./nowhere, threshold_bits: 1, min_dwell: 1}}",
            "evaluation.decoding.two_models.large_model",
            "nowhere",
        ),
        (
            "{two_models: {large_model: ./other, threshold_bits: 1, min_dwell: 1}}",
            "evaluation.decoding.two_models.large_model",
            "share a vocabulary",
        ),
        (
            "{think_just_enough: {threshold: 1, step_tokens: 2, end: zebra}}",
            "decoding.think_just_enough.end",
            "no token",
        ),
        ("{swi_reasoning: {first: then}}", "decoding.swi_reasoning.end", "no token"),
        ("{swi_reasoning: {first: then, end: so so}}", "decoding.swi_reasoning.end", "one token"),
        ("{two_models: {large_model: large}}", "evaluation.decoding.two_models", "threshold_bits"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    rule: str,
    key: str,
    said: str,
    recipe: Recipe,
    write: Write,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    second_model(tmp_path / "other", ["zebra"])
    command = ["eval", write(recipe), "--samples", "3", "--output", "made"]
    assert main([*command, f"evaluation.decoding={rule}"]) == 2
    shown = capsys.readouterr().err
    assert f"{key}" in shown
    assert said in shown
    assert not Path("made").exists()


@pytest.mark.parametrize("name", ["think_just_enough", "swi_reasoning", "two_models"])
def test_neither_training_nor_budgets(
    name: str, recipe: Recipe, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {
        "think_just_enough": "{threshold: 1, step_tokens: 2}",
        "swi_reasoning": "{}",
        "two_models": "{large_model: large, threshold_bits: 1, min_dwell: 1}",
    }[name]
    rule = f"{{{name}: {options}}}"
    assert main(["check", write(recipe), f"rollout.decoding={rule}"]) == 2
    assert "use it in evaluation.decoding" in capsys.readouterr().err
    both = f"evaluation={{samples: 2, decoding: {rule}, budgets: {{levels: [3]}}}}"
    assert main(["check", write(recipe), both]) == 2
    assert f"{name} and budgets cannot be had together" in capsys.readouterr().err
