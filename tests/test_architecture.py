"""The layout keeps its promises: who may import whom, and how much an import loads."""

import ast
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from rlent.interventions import TABLE
from rlent.losses import TABLE as LOSSES
from rlent.objective import LOSS_TYPES
from rlent.rollout.decoding import TABLE as DECODING
from rlent.rollout.forking import TABLE as FORKING
from rlent.surrogates import SURROGATES

ROOT = Path(__file__).parent.parent
LAYERS: dict[str, set[str]] = {
    "errors": set(),
    "released": set(),
    "reduce": set(),
    "distributions": set(),
    "types": {"distributions", "reduce"},
    "numerics": {"reduce", "types"},
    "divergences": {"numerics"},
    "advantages": set(),
    "aggregate": set(),
    "surrogates": {"numerics", "types"},
    "objective": {"aggregate", "numerics", "surrogates", "types"},
    "interventions": {
        "advantages",
        "distributions",
        "divergences",
        "errors",
        "numerics",
        "reduce",
        "released",
        "surrogates",
        "types",
    },
    "small": {"errors"},
    "data": {"errors", "small"},
    "losses": {"errors", "interventions", "numerics", "released"},
    "config": {"errors", "data", "interventions", "rollout", "losses"},
    "rollout": {"errors", "numerics", "reduce"},
    "evaluation": {"data", "errors", "rollout"},
    "tracking": {"errors", "numerics", "surrogates", "types"},
    "report": {"interventions", "numerics", "tracking"},
    "effects": {
        "advantages",
        "aggregate",
        "errors",
        "interventions",
        "numerics",
        "objective",
        "tracking",
        "types",
    },
    "checkpoints": {"errors"},
    "sharding": {"errors"},
}
"""What each room of rlent may import from rlent, besides itself; trainer and launch stand above all of them."""

MAY_IMPORT_TRL = {"trainer"}
TRL = {"trl"}


def rooms() -> list[tuple[str, Path]]:
    files = (ROOT / "rlent").rglob("*.py")
    return [
        (path.relative_to(ROOT / "rlent").parts[0].removesuffix(".py"), path)
        for path in sorted(files)
    ]


def imported(path: Path) -> set[str]:
    """Every module named by an import statement, also inside functions, but not those for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def below(names: set[str], package: str) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith(f"{package}.")}


@pytest.mark.parametrize(("room", "path"), rooms(), ids=lambda value: getattr(value, "stem", value))
def test_imports_point_downwards(room: str, path: Path) -> None:
    others = below(imported(path), "rlent") - {room}
    if room in LAYERS:
        assert others <= LAYERS[room]
    if room not in ("launch", "__init__", "__main__"):
        assert "launch" not in others
        assert "report" not in others
    if room == "trainer":
        assert "launch" not in others


@pytest.mark.parametrize(("room", "path"), rooms(), ids=lambda value: getattr(value, "stem", value))
def test_only_the_trainer_imports_trl(room: str, path: Path) -> None:
    roots = {name.split(".")[0] for name in imported(path)}
    if room not in MAY_IMPORT_TRL:
        assert not roots & TRL


@pytest.mark.parametrize("package", ["kernels/rlent_kernels", "rewards/rlent_rewards"])
def test_kernels_and_rewards_know_nothing_of_rlent(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        assert "rlent" not in {name.split(".")[0] for name in imported(path)}, path


def test_no_bare_top_level_package_shadows_another() -> None:
    assert not (ROOT / "kernels" / "__init__.py").exists()
    assert not (ROOT / "rewards" / "__init__.py").exists()


HEAVY = ("trl", "transformers", "deepspeed", "wandb", "triton", "datasets", "matplotlib")


def loaded_by(statement: str) -> set[str]:
    """Heavy packages in ``sys.modules`` after a statement, in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "statement", ["import rlent", "import rlent.config, rlent.data", "import rlent.launch.cli"]
)
def test_imports_stay_light(statement: str) -> None:
    assert loaded_by(statement) == set()


def test_the_light_import_test_can_fail() -> None:
    assert "trl" in loaded_by("import rlent; rlent.EntropyGRPOTrainer")


CORE = [
    "types.py",
    "aggregate.py",
    "surrogates/contract.py",
    "losses/contract.py",
    "interventions/stages.py",
    "interventions/chain.py",
    "rollout/decoding/rule.py",
    "rollout/forking/rule.py",
    "rollout/forking/grow.py",
    "rollout/run.py",
    "rollout/records.py",
    "rollout/sampling.py",
    "rollout/sequence.py",
    "trainer/trainer.py",
    "trainer/generation.py",
]
"""What every method goes through: readable in one sitting, and without a case for any of them."""
TRAINER = [
    str(path.relative_to(ROOT / "rlent")) for path in sorted((ROOT / "rlent/trainer").rglob("*.py"))
]


def names(*tables: Mapping[str, type]) -> set[str]:
    """How text may speak of the entries of tables."""
    return {
        name
        for table in tables
        for key, cls in table.items()
        for name in (key, cls.__name__.lower())
    }


IDEAS = names(TABLE, LOSSES, DECODING, FORKING)
"""Names of methods that the trainer runs without knowing them."""
METHODS = IDEAS | names(SURROGATES) | (LOSS_TYPES.keys() - {"grpo"})
"""These, and those that TRL's options name, which some files of the trainer read. TRL's trainer, on which rlent's is
built, has the one that is left out in its own name."""


def words(file: str) -> set[str]:
    text = (ROOT / "rlent" / file).read_text(encoding="utf-8")
    return set(re.findall(r"[a-z0-9_]+", text.lower()))


@pytest.mark.parametrize("file", [*CORE, *TRAINER])
def test_the_core_and_the_trainer_are_short_and_name_no_method(file: str) -> None:
    assert len((ROOT / "rlent" / file).read_text(encoding="utf-8").splitlines()) < 300
    assert words(file) & (METHODS if file in CORE else IDEAS) == set()


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("surrogates/ppo.py", {"ppo", "dapo", "luspo"}),
        ("losses/tdpo.py", {"tdpo"}),
        ("rollout/decoding/typical.py", {"typical"}),
        ("rollout/forking/critical_token.py", {"critical_token", "criticaltoken"}),
        ("interventions/forking_tokens.py", {"forking_tokens", "forkingtokens"}),
    ],
)
def test_a_method_in_the_core_would_be_found(file: str, found: set[str]) -> None:
    assert found <= words(file) & METHODS
