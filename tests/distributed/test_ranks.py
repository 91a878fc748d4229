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
        "ACCELERATE_USE_CPU": "true",
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


@pytest.mark.slow
def test_two_ranks_train_as_one(tiny_folder: Path, tmp_path: Path) -> None:
    """Same rollouts, split over one or two ranks: same loss, same gradient norm, same selection, same weights."""
    results = {}
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        results[ranks] = launch("train.py", ranks, folder, str(tiny_folder))
    one, two = results[1][0], results[2][0]
    assert two["kept_share"] == pytest.approx(one["kept_share"], abs=1e-12)
    assert two["entropy"] == pytest.approx(one["entropy"], rel=1e-5)
    assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)
    assert two["weights"] == pytest.approx(one["weights"], rel=1e-5, abs=1e-7)
    assert results[2][1]["weights"] == two["weights"]
