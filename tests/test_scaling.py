"""The formulas of docs/scaling.md against small models, and its tables against the script that prints them."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import scaling
from scripts.scaling_model.shapes import POLICIES, Shape
from scripts.scaling_model.small_models import Comparison
from scripts.scaling_model.tables import TABLES, print_tables

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


@pytest.mark.parametrize("title", TABLES)
def test_the_page_shows_what_the_script_prints(title: str, capsys: pytest.CaptureFixture) -> None:
    print_tables()
    section = f"### {title}\n\n{TABLES[title]()}\n"
    assert section in capsys.readouterr().out
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert section in page, f"run: python scripts/scaling.py table, and replace {title}"


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


@pytest.mark.parametrize(("measured", "status"), [(100.0, 0), (105.0, 0), (120.0, 1)])
def test_an_error_above_the_tolerance_fails(
    monkeypatch: pytest.MonkeyPatch, measured: float, status: int
) -> None:
    found = [Comparison(what="weights", predicted=100.0, measured=measured)]
    monkeypatch.setattr(scaling, "comparisons", lambda _: found)
    assert scaling.print_check(scaling.QUICK, 0.1) == status


@pytest.mark.parametrize(
    ("policy", "weights"), [*zip(POLICIES, (8.2e9, 32.8e9, 235e9), strict=True)]
)
def test_the_policies_have_the_size_they_are_published_with(policy: Shape, weights: float) -> None:
    assert policy.parameters == pytest.approx(weights, rel=0.005)
