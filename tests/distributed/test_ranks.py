"""Real processes: what is global must not depend on how many ranks there are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKERS = Path(__file__).parent / "workers"


def launch(worker: str, ranks: int, folder: Path, *arguments: str) -> list[dict]:
    """Run a worker under torchrun on gloo; what each rank wrote as ``rank-N.json``."""
    command = [
        *(
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={ranks}",
        ),
        *(str(WORKERS / worker), str(folder), *arguments),
    ]
    root = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        "PYTHONPATH": root,
        "OMP_NUM_THREADS": "1",
    }
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-4000:]
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(ranks)]


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_global_top_share_is_that_of_one_process(ranks: int, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    (one,) = launch("top_share.py", 1, tmp_path / "one")
    many = launch("top_share.py", ranks, tmp_path / "many")
    assert [row for rank in many for row in rank["chosen"]] == one["chosen"]
    assert sum(map(sum, one["chosen"])) == one["expected"]


@pytest.fixture(scope="module")
def one_rank(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A step on one process."""
    return launch("train.py", 1, tmp_path_factory.mktemp("one"), str(tiny_folder), "0")[0]


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "backend"), [(0, "MULTI_CPU"), (2, "DEEPSPEED")])
def test_two_ranks_train_as_one(
    tiny_folder: Path, tmp_path: Path, one_rank: dict, stage: int, backend: str
) -> None:
    """Same rollouts on one or two ranks: same selection, gradient norm and weights, under ZeRO too."""
    first, second = launch("train.py", 2, tmp_path, str(tiny_folder), str(stage))
    assert first["backend"] == f"DistributedType.{backend}"
    assert first["kept_share"] == pytest.approx(one_rank["kept_share"], abs=1e-12)
    assert first["entropy"] == pytest.approx(one_rank["entropy"], rel=1e-5)
    assert first["grad_norm"] == pytest.approx(one_rank["grad_norm"], rel=1e-4)
    assert first["weights"] == pytest.approx(one_rank["weights"], rel=1e-5, abs=1e-7)
    assert second["weights"] == first["weights"]
