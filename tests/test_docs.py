"""The documentation's code is code."""

import ast
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from rlent.config import load_recipe
from rlent.config.source import parse_source
from rlent.launch import interventions_page
from rlent.losses import TABLE as LOSSES
from rlent.rollout.decoding import TABLE as DECODING
from rlent.rollout.forking import TABLE as FORKING
from rlent.surrogates import SURROGATES
from rlent.trainer import EntropyGRPOConfig
from rlent.trainer.losses import surrogate_of

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[tuple[Path, str]]:
    pattern = re.compile(rf"```{language}\n(.*?)```", re.DOTALL)
    return [(page, block) for page in PAGES for block in pattern.findall(page.read_text())]


@pytest.mark.parametrize(("page", "block"), blocks("python"))
def test_python_parses(page: Path, block: str) -> None:
    ast.parse(block)


@pytest.mark.parametrize(("page", "block"), blocks("yaml"))
def test_recipes_load(page: Path, block: str, tmp_path: Path) -> None:
    if "model:" in block:
        (tmp_path / "my.yaml").write_text(block)
        load_recipe(tmp_path / "my.yaml")
    else:
        parse_source(block, str(page))


def test_the_page_of_interventions_is_up_to_date() -> None:
    written = (ROOT / "docs" / "interventions.md").read_text(encoding="utf-8")
    assert written == interventions_page.page(), (
        "run: rlent interventions --markdown > docs/interventions.md"
    )


@pytest.mark.parametrize(
    "table",
    [SURROGATES, LOSSES, DECODING, FORKING],
    ids=["surrogates", "losses", "decoding", "forking"],
)
def test_the_page_of_interventions_has_the_other_tables_too(table: Mapping[str, Any]) -> None:
    page = interventions_page.page()
    for name, cls in table.items():
        section = page.partition(f"\n### {name}\n")[2].partition("\n##")[0]
        assert cls.paper in section
        for option in fields(cls):
            (line,) = re.findall(rf"^\| `{option.name}` \| (.+?) \| .+ \|$", section, re.MULTILINE)
            assert (line == "required") == (option.default is MISSING)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_page_on_interventions_shows_one_that_obeys_the_laws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The example is run under the same pipeline as the table's entries."""
    import sys
    from types import ModuleType

    import torch

    from rlent.interventions import chain
    from tests.interventions.examples import make_signal, make_tokens
    from tests.laws.pipeline import run_chain

    module = ModuleType("doubt_weight")
    monkeypatch.setitem(sys.modules, "doubt_weight", module)
    source = next(block for _, block in blocks("python") if "class DoubtWeight" in block)
    exec(compile(source, "doubt_weight", "exec"), module.__dict__)
    tokens = make_tokens()
    signal, metrics = run_chain(chain([module.DoubtWeight()]), tokens)
    expected = 1 - (-tokens.entropy.detach() / 0.5).exp()
    assert torch.allclose(signal.weight[tokens.mask], expected[tokens.mask])
    assert "doubt_weight/weight" in metrics
    neutral, _ = run_chain(chain([module.DoubtWeight.neutral()]), tokens)
    assert torch.equal(neutral.weight, make_signal(tokens).weight)


def lines_of_recipes() -> Mapping[str, Any]:
    page = (ROOT / "docs" / "surrogates.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"## Recipe lines.*?```yaml\n(.*?)```", page, re.DOTALL)
    return parse_source(block, "surrogates.md").mapping


@pytest.mark.parametrize(("name", "options"), lines_of_recipes().items())
def test_recipe_lines_of_surrogates_configure_a_trainer(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    args = EntropyGRPOConfig(str(tmp_path), use_cpu=True, bf16=False, report_to=[], **options)
    assert surrogate_of(args).name in name or name in (
        "grpo",
        "dapo",
        "dual clip",
        "luspo",
        "grpo-s",
    )


def test_the_page_of_surrogates_is_the_table() -> None:
    page = (ROOT / "docs" / "surrogates.md").read_text(encoding="utf-8")
    rows = {
        row[0].strip("`"): row
        for row in re.findall(r"^\| (.*?) \| (.*?) \| .* \| (.*?) \| (.*?) \|$", page, re.M)
    }
    del rows["name"]
    assert list(rows) == list(SURROGATES)
    for name, cls in SURROGATES.items():
        _, paper, bounds, options = rows[name]
        default = cls()
        written = [
            f"`{field.name}: {yaml_of(getattr(default, field.name))}`" for field in fields(cls)
        ]
        assert paper == cls.paper
        assert bounds == (", ".join(sorted({read.split("_")[0] for read in cls.reads})) or "none")
        assert options == (", ".join(written) or "none")


def yaml_of(value: object) -> str:
    return "null" if value is None else str(value)
