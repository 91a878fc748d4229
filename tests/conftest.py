"""Fixtures of the whole suite."""

import os
from pathlib import Path

# Set before torch starts its threads: small products on two cores lose more to threads than they gain.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import pytest
import torch

if not torch.cuda.is_available():
    # Read when Triton is first imported, by whomever: kernels then run in its interpreter, on a CPU.
    os.environ["TRITON_INTERPRET"] = "1"

ALONE = (
    "report/test_page_in_browser.py",
    "rewards/test_hostile_answers.py",
    "rewards/test_hostile_texts.py",
    "rewards/test_workers.py",
    "trainer/test_progress.py",
)
"""Tests that measure time."""

LONG = (
    "distributed/test_nodes.py",
    "launch/test_kills.py",
    "launch/test_small_recipes.py",
    "launch/test_compare.py",
    "launch/test_resume.py",
    "launch/test_new_intervention.py",
    "laws",
    "trainer/test_fast_step.py",
    "test_scaling.py",
    "rollout/test_rollout_packaged.py",
    "data/test_data_packaged.py",
    "distributed",
    "kernels/test_triton_compiles.py",
    "rewards/test_equivalence.py",
)
"""Files that take long, which are begun first: one that is begun last keeps one core busy and the other waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    names = {item: item.path.relative_to(root).as_posix() for item in items}
    for item, name in names.items():
        if name.startswith(ALONE):
            item.add_marker("alone")
    items.sort(key=lambda item: _begun(names[item]))


def _begun(name: str) -> int:
    """When a file is begun among others: those of ``LONG`` in its order, then all others in theirs."""
    return next((place for place, start in enumerate(LONG) if name.startswith(start)), len(LONG))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a saved tiny model and its tokenizer."""
    from tests.tiny import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
