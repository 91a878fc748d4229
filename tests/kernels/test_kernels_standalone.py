"""The package stands alone: torch is all that it imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rlent_kernels

PACKAGE = Path(rlent_kernels.__file__).parent

PROGRAM = """
import sys
import torch
before = set(sys.modules)
from rlent_kernels import IGNORE_INDEX, TokenStats, token_stats
stats = token_stats(torch.ones(2, 3), torch.zeros(4, 3), torch.tensor([1, IGNORE_INDEX]))
assert isinstance(stats, TokenStats)
assert torch.allclose(stats.entropy, torch.tensor([4.0, 1.0]).log()), stats
third_party = ("rlent", "trl", "transformers", "accelerate", "jaxtyping", "beartype", "triton")
print(sorted(name for name in set(sys.modules) - before if name.split(".")[0] in third_party))
"""


def test_it_works_with_nothing_but_its_own_folder_on_the_path(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": str(PACKAGE.parent), "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def imported(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_only_the_triton_kernels_import_more_than_torch(path):
    roots = {module.split(".")[0] for module in imported(path)}
    allowed = {"torch", "rlent_kernels"} | set(sys.stdlib_module_names)
    assert roots <= (allowed | {"triton"} if path.name == "pointwise_triton.py" else allowed)


@pytest.mark.parametrize(("one", "other"), [("tiled", "reference"), ("reference", "tiled")])
def test_implementations_do_not_import_each_other(one, other):
    assert not any(other in module for module in imported(PACKAGE / f"{one}.py"))
