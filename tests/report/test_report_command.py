"""``rlent report`` and ``rlent plot`` as a user types them."""

from pathlib import Path

import pytest

from rlent.launch.cli import main
from rlent.launch.report import run_files
from tests.report.runs import completion, write_run

ROWS = [completion(["a", "b"], [0.1, 2.0], step=step) for step in (0, 1)]


def test_a_report_lies_in_the_folder_of_its_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "runs" / "mine", ROWS)
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert str(run / "report.html") in capsys.readouterr().out


def test_a_report_of_several_runs_lies_here_or_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [str(write_run(tmp_path / name, ROWS)) for name in ("one", "two")]
    monkeypatch.chdir(tmp_path)
    assert main(["report", *runs]) == 0
    assert Path("report.html").exists()
    assert main(["report", *runs, "-o", "both.html", "--completions", "2"]) == 0
    assert "one, two" in Path("both.html").read_text(encoding="utf-8")
    assert main(["plot", runs[0], "--output", "figures"]) == 0
    assert Path("figures/curves.pdf").exists()
    assert main(["plot", runs[0]]) == 0
    assert Path("one/plots/curves.png").exists()


def test_a_folder_that_is_no_run_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "quickstart", ROWS)
    for command in ("report", "plot"):
        assert main([command, str(tmp_path / "quickstar")]) == 2
        shown = capsys.readouterr().err
        assert "not the folder of a run" in shown
        assert str(tmp_path / "quickstart") in shown
    assert (
        main(["report", str(tmp_path / "quickstart"), "-o", str(tmp_path / "no" / "x.html")]) == 2
    )
    assert "cannot be written there" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "quickstart"), "-o", str(tmp_path)]) == 2
    assert "cannot be written there" in capsys.readouterr().err


def test_runs_of_one_name_are_told_apart_and_a_run_counts_once(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / place / "run", ROWS) for place in ("a", "b")]
    assert [files.name for files in run_files([*runs, runs[0]])] == ["a-run", "b-run"]
    assert [files.name for files in run_files([runs[0], runs[0]])] == ["run"]


def test_a_page_needs_a_completion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", ROWS)
    assert main(["report", str(run), "--completions", "0"]) == 2
    assert "completions" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["report", "plot"])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "runs/quickstart" in shown
    assert "default:" in shown
