"""``rlent replay`` as a user types it."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlent.launch.cli import main
from rlent.tracking import read_metrics, read_rollouts
from tests.launch.conftest import Recipe
from tests.report.runs import completion, write_run


def rows() -> list[dict[str, Any]]:
    """Two steps with a group of two each; one of them has no variance."""
    made = []
    for step in (0, 1):
        for place in (0, 1):
            reward = float(place) if step == 0 else 1.0
            entropy = [0.1 * (place + 1), 2.0 - place, 0.3, 0.4]
            made.append(completion(list("abcd"), entropy, step=step, reward=reward))
    return made


@pytest.fixture
def run(recipe: Recipe, tmp_path: Path) -> Path:
    recipe["rewards"] = [{"math_answer": {"extract": "last_number"}}]
    written = [{**row, "reward/math_answer": row["reward"]} for row in rows()]
    for row in written:
        del row["reward/right"]
    return write_run(tmp_path / "runs" / "one", written, recipe=json.dumps(recipe))


def replay(run: Path, *arguments: str) -> int:
    return main(["replay", str(run), *arguments])


def test_a_replay_is_a_table_a_page_and_a_run(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fraction = "forking_tokens: {fraction: 0.25}"
    assert replay(run, "--interventions", fraction, "dynamic_sampling: {zero_variance: drop}") == 0
    shown = capsys.readouterr().out
    folder = run / "replays" / "forking_tokens+dynamic_sampling"
    assert "| | as recorded | plain GRPO | forking_tokens+dynamic_sampling |" in shown
    # Eight tokens of the group with variance are left, two of them are kept.
    assert "| tokens selected | 100.0% | 100.0% | 12.5% |" in shown
    assert "| their mean entropy, nats | 0.587 | 0.587 | 1.500 |" in shown
    assert "| completions that something is learnt from | 100.0% | 50.0% | 50.0% |" in shown
    assert "| first-order change of entropy, nats per unit step | n/a |" in shown
    assert str(folder / "report.html") in shown
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    replayed = read_rollouts(folder / "rollouts")
    assert [row["selected"] for row in replayed] == [
        [False, True, False, False],
        [False, True, False, False],
        *[[False] * 4] * 2,
    ]
    assert [row["token"] for row in replayed] == [row["token"] for row in rows()]
    metrics = list(read_metrics(folder / "metrics.jsonl"))
    assert [row["step"] for row in metrics] == [1, 2]
    assert metrics[0]["forking_tokens/kept_share"] == 0.25
    assert metrics[0]["effect/selected_share"] == 0.25
    assert main(["report", str(run), str(folder), "-o", str(run / "both.html")]) == 0


def test_a_second_replay_has_a_folder_of_its_own(run: Path) -> None:
    for _ in range(2):
        assert replay(run, "--interventions", "forking_tokens") == 0
    names = sorted(path.name for path in (run / "replays").iterdir())
    assert names == ["forking_tokens", "forking_tokens-2"]
    assert replay(run, "--interventions", "forking_tokens", "-o", str(run / "here")) == 0
    assert (run / "here" / "report.html").exists()


def test_settings_of_the_recipe_can_be_replaced(run: Path) -> None:
    output = ["-o", str(run / "out")]
    arguments = ["trainer.scale_rewards=none", "--interventions", "forking_tokens: {fraction: 1.0}"]
    assert replay(run, *arguments, *output) == 0
    first, second, *_ = read_rollouts(run / "out" / "rollouts")
    assert (first["advantage"][0], second["advantage"][0]) == (-0.5, 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["forking_token"], "did you mean: forking_tokens"),
        (["clip_higher"], "every ratio is 1"),
        (["kl_anchor"], "reference policy"),
        (["entropy_bonus"], "gradient of the entropy"),
        (["forking_tokens", "forking_tokens"], "listed twice"),
    ],
)
def test_what_cannot_be_replayed_is_refused_by_name(
    run: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(run, "--interventions", *arguments) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert f"interventions.{len(arguments) - 1}.{arguments[0]}" in shown
    assert "command line" in shown
    assert not (run / "replays").exists()


def test_runs_that_cannot_be_replayed(
    run: Path, recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(tmp_path / "no", "--interventions", "forking_tokens") == 2
    assert "not the folder of a run" in capsys.readouterr().err
    bare = write_run(tmp_path / "bare", rows())
    assert replay(bare, "--interventions", "forking_tokens") == 2
    assert "has no recipe" in capsys.readouterr().err
    empty = write_run(tmp_path / "empty", [], recipe=json.dumps(recipe))
    assert replay(empty, "--interventions", "forking_tokens") == 2
    assert "saved no rollouts" in capsys.readouterr().err
    arguments = ["trainer.multi_objective_aggregation=normalize_then_sum", "--interventions"]
    assert replay(run, *arguments, "forking_tokens") == 2
    assert "summed first" in capsys.readouterr().err


@pytest.mark.slow
def test_replaying_what_a_run_did_gives_what_it_did(recipe: Recipe, write: Any) -> None:
    """The recorded advantages and selection of a real run, from its log-probabilities and rewards alone."""
    recipe["trainer"]["max_steps"] = 2
    assert main(["train", write(recipe)]) == 0
    run = Path("runs/small")
    assert replay(run, "--interventions", "forking_tokens: {fraction: 0.2}") == 0
    recorded = read_rollouts(run / "rollouts")
    replayed = read_rollouts(run / "replays" / "forking_tokens" / "rollouts")
    assert len(recorded) == len(replayed) == 16
    for one, other in zip(recorded, replayed, strict=True):
        assert one["selected"] == other["selected"]
        assert one["advantage"] == pytest.approx(other["advantage"], abs=1e-5)


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["replay", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for part in ("runs/quickstart", "refused by name", "RUN/replays/NAME"):
        assert part in shown
