"""The formulas of docs/scaling.md against small models, and its tables against the script that prints them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = str(ROOT / "scripts" / "scaling.py")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def errors(report: str) -> dict[str, float]:
    """The last column of the table, by the first."""
    rows = [line.strip("| ").split(" | ") for line in report.splitlines() if line.endswith("% |")]
    return {row[0]: float(row[-1].rstrip("%")) / 100 for row in rows}


@pytest.mark.slow
def test_the_page_shows_what_the_script_prints() -> None:
    printed = run("table")
    assert printed.returncode == 0, printed.stderr
    sections = printed.stdout.strip().split("\n\n### ")
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    missing = [section.splitlines()[0] for section in sections if section not in page]
    assert len(sections) == 8
    assert not missing, f"run: python scripts/scaling.py table, and replace {missing}"


@pytest.mark.slow
def test_small_models_hold_what_the_formulas_say() -> None:
    """Weights, optimiser, gradients and traffic by stage, activations, cache and token head."""
    checked = run("check", "--quick", "--tolerance", "0.05")
    assert checked.returncode == 0, checked.stdout + checked.stderr[-2000:]
    found = errors(checked.stdout)
    for stage in range(4):
        for ranks in ("1 process", "2 processes"):
            case = f"zero {stage}, {ranks}, bfloat16"
            for part in ("weights", "optimiser", "gradients and buffer", "bytes sent"):
                assert found[f"{part}, {case}"] < 0.05
    for kind in ("activations", "cache", "token head", "operators"):
        assert any(name.startswith(kind) for name in found), kind


@pytest.mark.slow
def test_an_error_above_the_tolerance_fails() -> None:
    assert run("check", "--quick", "--tolerance", "0").returncode == 1
