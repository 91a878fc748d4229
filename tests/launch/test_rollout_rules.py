"""Decoding and branching rules from a recipe: rlent eval, inspect, calibrate and check."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rlent.config import load_recipe
from rlent.config.dump import dump_recipe
from rlent.launch.cli import main
from rlent.rollout.decoding import EntropyAware, Typical
from rlent.tracking import read_rollouts

Recipe = dict[str, Any]
Write = Callable[[Recipe], str]
HELD_OUT = "runs/evaluations/small/tiny/held_out"
SHORT = ["data.style=plain", "trainer.max_completion_length=6", "trainer.num_generations=4"]


def texts(folder: str, kind: str) -> list[str]:
    files = sorted(Path(folder, "completions").glob(f"{kind}-*.parquet"))
    return [row["completion"] for path in files for row in pq.read_table(path).to_pylist()]


def test_an_evaluation_draws_by_the_rule_and_stays_greedy_beside_it(
    recipe: Recipe, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", write(recipe), "--samples", "3"]
    assert main([*command, "--output", "plain"]) == 0
    rule = "evaluation.decoding={entropy_aware: {mean: 9.0, std: 1.0}}"
    assert main([*command, rule, "--output", "greedy"]) == 0
    assert texts("plain/held_out", "greedy") == texts("greedy/held_out", "greedy")
    assert texts("plain/held_out", "sampled") != texts("greedy/held_out", "sampled")
    one_each = [text for text in texts("plain/held_out", "greedy") for _ in range(3)]
    assert texts("greedy/held_out", "sampled") == one_each
    settings = json.loads(Path("greedy/held_out/settings.json").read_text())
    assert settings["decoding"] == repr(EntropyAware(mean=9.0, std=1.0))
    capsys.readouterr()
    assert main([*command, "--output", "greedy"]) == 2
    assert "holds an evaluation with another decoding" in capsys.readouterr().err


def test_calibrate_reads_an_evaluation(
    recipe: Recipe, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe["evaluation"] |= {"problems": 24}
    recipe["rewards"] = [{"python_function": {"function": "tests.trainer.helpers:digits_reward"}}]
    assert main(["eval", write(recipe), "--samples", "2", "evaluation.temperature=2.0"]) == 0
    folder = Path("runs/evaluations/small/tiny/held_out/completions")
    for path in folder.glob("*.parquet"):
        table = pq.read_table(path)
        scores = [float(number % 3 > 0) for number in range(len(table))]
        place = table.schema.get_field_index("score")
        pq.write_table(table.set_column(place, table.schema.field(place), [scores]), path)
    capsys.readouterr()
    assert main(["calibrate", HELD_OUT, "--problems", "12", "--alpha", "0.3"]) == 0
    shown = capsys.readouterr().out
    for part in ("12 answers to calibrate on, 12 to try", "tau_mean", "tau_info", "at alpha 0.3"):
        assert part in shown
    for arguments, said in (
        ([HELD_OUT, "--problems", "24"], "left to try"),
        ([HELD_OUT, "--problems", "0"], "left to try"),
        ([HELD_OUT, "--problems", "12", "--alpha", "1"], "not a share"),
        (["runs", "--problems", "12"], "not the folder of an evaluated set"),
    ):
        assert main(["calibrate", *arguments]) == 2
        assert said in capsys.readouterr().err


def test_inspect_draws_and_forks_as_the_recipe_says(
    workplace: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["inspect", str(tiny_folder), *SHORT, "--prompts", "additions.jsonl", "--size", "2"]
    rule = "rollout.branching={uncertain_tokens: {trees: 2, tokens: 1, forks: 1}}"
    greedy = "rollout.decoding={entropy_aware: {mean: 9.0, std: 1.0}}"
    for number, words in enumerate(([], [rule], [greedy])):
        assert main([*command, *words, "-o", str(number)]) == 0
        assert "branching  factor " in capsys.readouterr().out
    plain, forked, same = (
        [row["token_id"] for row in read_rollouts(Path(str(number), "plain-GRPO", "rollouts"))]
        for number in range(3)
    )
    assert len(plain) == len(forked) == len(same) == 8
    assert [plain[place] for place in (0, 1, 4, 5)] == [forked[place] for place in (0, 1, 4, 5)]
    assert plain != forked
    assert same == [same[0]] * 4 + [same[4]] * 4
    assert main([*command, "rollout.decoding={temperature_switch: {}}"]) == 2
    assert "one batch here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "key", "said"),
    [
        ("rollout.decoding={cautious: {}}", "rollout.decoding", "use it in evaluation.decoding"),
        ("rollout.decoding={}", "rollout.decoding", "must name one rule"),
        ("rollout.decoding={typical: {mass: 2}}", "rollout.decoding.typical.mass", "(0, 1]"),
        ("rollout.decoding={typicl: {}}", "rollout.decoding.typicl", "did you mean: typical"),
        ("rollout={engine: transformers, decoding: {typical: {}}}", "rollout.decoding", "native"),
        ("rollout={engine: vllm, branching: {critical_token: {}}}", "rollout.branching", "native"),
        (
            "rollout={branching: {critical_token: {}}, budgets: {levels: [3]}}",
            "rollout.branching",
            "together",
        ),
        (
            "rollout={decoding: {typical: {}}, budgets: {levels: [3]}}",
            "rollout.decoding",
            "together",
        ),
        ("evaluation.decoding={typical: {}}", "evaluation.decoding", "samples is 0"),
        (
            "evaluation={samples: 2, decoding: {entropy_temperature: {}}}",
            "evaluation.decoding",
            "generation batches of a training run",
        ),
        ("trainer.decoding={typical: {}}", "trainer.decoding", "rollout.decoding"),
        ("trainer.branching={critical_token: {}}", "trainer.branching", "rollout.branching"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(
    override: str,
    key: str,
    said: str,
    recipe: Recipe,
    write: Write,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", write(recipe), override]) == 2
    shown = capsys.readouterr().err
    assert f"{key}: " in shown
    assert said in shown


def test_a_rule_survives_the_resolved_recipe(recipe: Recipe, write: Write, tmp_path: Path) -> None:
    overrides = [
        "rollout.decoding={typical: {mass: 0.3}}",
        "rollout.branching={critical_token: {n1: 2, n2: 1}}",
        "evaluation.samples=2",
        "evaluation.decoding={entropy_aware: {mean: 1.0, std: 2.0, alpha: -.inf}}",
    ]
    loaded = load_recipe(write(recipe), overrides)
    assert loaded.rollout.decoding is not None
    assert loaded.rollout.decoding.rule == Typical(mass=0.3)
    path = tmp_path / "resolved.yaml"
    path.write_text(dump_recipe(loaded))
    again = load_recipe(path)
    assert (again.rollout, again.evaluation) == (loaded.rollout, loaded.evaluation)
