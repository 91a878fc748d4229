"""The commands as a user types them."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlent.config import load_recipe
from rlent.interventions import TABLE
from rlent.launch.cli import build_parser, main, parse
from rlent.surrogates import SURROGATES
from rlent.tracking import read_metrics, read_rollouts
from rlent.trainer.options import build_args

Recipe = dict[str, Any]
Write = Callable[[Recipe], str]
RECIPES = Path(__file__).parents[2] / "recipes"


def test_check_says_what_will_happen_and_writes_nothing(
    recipe: Recipe, write: Write, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(recipe)
    before = sorted(workplace.rglob("*"))
    assert main(["check", path, "--resolved", "interventions.forking_tokens.fraction=0.4"]) == 0
    shown = capsys.readouterr().out
    for part in (
        "runs/small",
        "additions.jsonl",
        "ForkingTokens(fraction=0.4",
        "needs old_entropy",
        "scoring pass",
        "surrogate  PPO(level='token', dual_clip=None)",
    ):
        assert part in shown
    resolved = shown[shown.index("\n\n") + 2 :]
    Path("resolved.yaml").write_text(resolved)
    assert load_recipe("resolved.yaml").interventions[0].fraction == 0.4
    Path("resolved.yaml").unlink()
    assert sorted(workplace.rglob("*")) == before


def test_interventions_lists_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["interventions"]) == 0
    shown = capsys.readouterr().out
    for name, cls in {**TABLE, **SURROGATES}.items():
        assert f"{name}  ({cls.paper})" in shown
    assert "fraction: 0.2" in shown
    assert "divergence: tv" in shown


def test_help_teaches() -> None:
    parser = build_parser()
    assert "recipes/quickstart.yaml" in parser.format_help()
    with pytest.raises(SystemExit):
        parser.parse_args([])


def test_overrides_stand_anywhere() -> None:
    options = parse(["train", "a.yaml", "x=1", "--resume", "y=2"])
    assert (options.overrides, options.resume) == (["x=1", "y=2"], True)
    with pytest.raises(SystemExit):
        parse(["train", "a.yaml", "--resum", "y=2"])
    with pytest.raises(SystemExit):
        parse(["interventions", "x=1"])


def test_version() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "rlent", "--version"], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"rlent \d+\.\d+\.\d+", result.stdout.strip())


def test_model_section_reaches_the_loader(tmp_path: Path) -> None:
    overrides = [
        "model.revision=v2",
        "model.dtype=bfloat16",
        "model.options={attn_implementation: eager}",
    ]
    args = build_args(load_recipe(RECIPES / "quickstart.yaml", overrides), tmp_path)
    assert args.model_init_kwargs == {
        "dtype": "bfloat16",
        "revision": "v2",
        "attn_implementation": "eager",
    }


@pytest.mark.slow
def test_a_run_leaves_what_the_readme_says(
    recipe: Recipe, write: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", write(recipe)]) == 0
    shown, progress = capfd.readouterr()
    folder = Path("runs/small")
    assert {path.name for path in folder.iterdir()} >= {
        "recipe.yaml",
        "environment.json",
        "metrics.jsonl",
        "rollouts",
        "model",
        "curves.png",
        "README.md",
        "checkpoint-4",
    }
    assert "step 4/4" in progress
    assert "left" in progress
    for part in ("held-out score", "forking tokens", "step 0", "curves.png"):
        assert part in shown
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    metrics = list(read_metrics(folder / "metrics.jsonl"))
    assert [row["step"] for row in metrics if "reward" in row] == [1, 2, 3, 4]
    assert [row["step"] for row in metrics if "held_out/score" in row] == [0, 2, 4]
    assert metrics[1].keys() >= {
        "loss",
        "entropy",
        "completions/mean_length",
        "rewards/math_answer/mean",
        "frac_reward_zero_std",
        "clip_ratio/region_mean",
        "forking_tokens/entropy_kept",
        "forking_tokens/kept_share",
    }
    rollouts = read_rollouts(folder / "rollouts")
    assert len(rollouts) == 4 * 8
    for row in rollouts:
        lists = [
            row[name]
            for name in ("token", "token_id", "logp", "entropy", "selected", "advantage", "weight")
        ]
        assert len({len(values) for values in lists}) == 1
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["packages"]["trl"].startswith("1.16")
    assert load_recipe(folder / "recipe.yaml").trainer == recipe["trainer"]


@pytest.mark.slow
def test_forking_share_of_a_real_run_is_exactly_the_fraction(recipe: Recipe, write: Write) -> None:
    assert main(["train", write(recipe)]) == 0
    rollouts = read_rollouts(Path("runs/small/rollouts"))
    for step in {row["step"] for row in rollouts}:
        batch = [row for row in rollouts if row["step"] == step]
        entropies = [value for row in batch for value in row["entropy"]]
        selected = [value for row in batch for value in row["selected"]]
        assert sum(selected) == -(-len(selected) // 5)
        kept = [entropy for entropy, chosen in zip(entropies, selected, strict=True) if chosen]
        dropped = [
            entropy for entropy, chosen in zip(entropies, selected, strict=True) if not chosen
        ]
        assert min(kept) >= max(dropped) - 1e-4  # scored twice, in batches padded differently


@pytest.mark.slow
def test_a_second_run_does_not_touch_the_first(recipe: Recipe, write: Write) -> None:
    recipe["trainer"]["max_steps"] = 1
    path = write(recipe)
    assert main(["train", path]) == 0
    first = Path("runs/small/metrics.jsonl").read_bytes()
    assert main(["train", path]) == 0
    assert Path("runs/small/metrics.jsonl").read_bytes() == first
    assert Path("runs/small-2/metrics.jsonl").exists()
