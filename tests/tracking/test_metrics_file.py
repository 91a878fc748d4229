"""metrics.jsonl: every line stays, whatever happens to the run."""

import json
import math
from pathlib import Path

from rlent.tracking import MetricsFile, read_metrics


def test_lines_are_json_in_order(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.write(1, {"reward": 0.5, "entropy": 1.25})
    file.write(2, {"reward": math.nan, "entropy": math.inf})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [
        {"step": 1, "reward": 0.5, "entropy": 1.25},
        {"step": 2, "reward": None, "entropy": None},
    ]


def test_a_line_cut_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "rew')
    assert list(read_metrics(path)) == [{"step": 1}]


def test_a_resumed_run_forgets_the_steps_it_takes_again(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.forget_after(0)
    for step in (1, 2, 3):
        file.write(step, {"reward": float(step)})
    file.forget_after(2)
    file.write(3, {"reward": 30.0})
    assert [row["reward"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1.0, 2.0, 30.0]
