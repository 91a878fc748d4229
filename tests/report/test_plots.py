"""Figures as files."""

from pathlib import Path

import matplotlib
import matplotlib.style
import pytest

from rlent.report.plots import STYLE, draw_plots
from tests.report.runs import completion, files_of, write_run


def metrics(scale: float) -> list[dict[str, float]]:
    return [
        {"step": s, "reward": s * scale, "entropy": 1.0 / s, "step_time": 2.0} for s in (1, 2, 3)
    ]


def test_every_figure_is_a_png_and_a_pdf(tmp_path: Path) -> None:
    rows = [completion(["$a", "b_"] * 15, [0.5, 1.5] * 15, step=step) for step in (0, 1)]
    recipe = "name: {}\ntrainer: {{seed: {}}}\n"
    runs = [
        write_run(tmp_path / name, rows, metrics(seed), recipe.format(name, seed))
        for seed, name in enumerate(("one", "two"), start=1)
    ]
    runs.append(write_run(tmp_path / "silent", [], metrics(1)))
    runs.append(write_run(tmp_path / "short", rows[:1], metrics(1)))
    before = matplotlib.rcParams["font.size"]
    drawn = draw_plots([files_of(run) for run in runs], tmp_path / "deep" / "plots")
    assert matplotlib.rcParams["font.size"] == before
    names = {path.stem for path in drawn}
    assert names == {
        "curves",
        "time",
        *(
            f"{figure}-{run}"
            for figure in ("entropy", "positions")
            for run in ("one", "two", "short")
        ),
        *(f"forking-{run}" for run in ("one", "two")),
    }
    assert len(drawn) == 2 * len(names)
    for path in drawn:
        start = b"\x89PNG" if path.suffix == ".png" else b"%PDF"
        assert path.read_bytes().startswith(start), path


def test_the_style_can_be_used_by_name() -> None:
    with matplotlib.style.context(STYLE):
        assert matplotlib.rcParams["pdf.fonttype"] == 42
        assert matplotlib.rcParams["figure.figsize"] == pytest.approx([3.3, 2.2])


def test_runs_without_anything_to_draw(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [], [{"step": 1, "odd": 1.0}])
    assert draw_plots([files_of(run)], tmp_path / "plots") == []
