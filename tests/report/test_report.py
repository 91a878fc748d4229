"""Pictures and rankings from the files of a run."""

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from rlent.report.curves import draw_curves
from rlent.report.studies import draw_study, final, print_study, read_curve


def test_curves_draw_the_metrics_that_are_there(tmp_path: Path) -> None:
    lines = [
        {"step": 0, "held_out/score": 0.1},
        *({"step": s, "reward": s / 10, "entropy": 1.0 - s / 10} for s in range(1, 5)),
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def drawn_panels(folder: Path, lines: list[dict[str, float]]) -> tuple[list[str], list[list[str]]]:
    """Axis labels and legends of the picture, panel by panel."""
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    figures: list[Figure] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
        draw_curves(folder / "metrics.jsonl", folder / "curves.png")
    (figure,) = figures
    legends = [axes.get_legend_handles_labels()[1] for axes in figure.axes]
    return [axes.get_ylabel() for axes in figure.axes], legends


def test_curves_draw_the_further_sets_in_a_panel_of_their_own(tmp_path: Path) -> None:
    lines = [
        {"step": 0, "eval/b/pass@1": 0.1, "eval/b/avg@4": 0.2, "held_out/score": 0.1},
        {"step": 2, "eval/b/pass@1": 0.3, "eval/a/pass@1": 0.5, "entropy": 1.0},
    ]
    labels, legends = drawn_panels(tmp_path, lines)
    assert labels == ["reward", "pass@1, greedy", "entropy (nats)"]
    assert legends == [["held-out, greedy"], ["b", "a"], ["all tokens"]]
    assert drawn_panels(tmp_path, [{"step": 1, "reward": 1.0}]) == (
        ["reward"],
        [["training reward"]],
    )


def write_run(folder: Path, values: dict[int, float]) -> Path:
    folder.mkdir()
    lines = [json.dumps({"step": step, "reward": value}) for step, value in values.items()]
    (folder / "metrics.jsonl").write_text("\n".join([json.dumps({"step": 0}), *lines]) + "\n")
    return folder


def test_studies_give_the_mean_of_the_last_steps_and_the_range_of_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        write_run(tmp_path / "one", {step: 1.0 if step > 80 else 9.0 for step in range(1, 101)}),
        write_run(tmp_path / "two", dict.fromkeys(range(50, 101, 50), 2.0)),
    ]
    curves = [read_curve(run, "reward") for run in runs]
    assert [final(curve) for curve in curves] == [1.0, 2.0]
    measured = {"reward": {"method": curves, "silent": [{}]}}
    print_study(measured)
    assert capsys.readouterr().out.splitlines() == [
        "| |reward|",
        "|---|---|",
        "| method | 1.500 (1.000 to 2.000) |",
        "| silent |  |",
    ]
    draw_study(measured, tmp_path / "study.png")
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")
