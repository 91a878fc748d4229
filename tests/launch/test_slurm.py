"""The SLURM script, with SLURM's and rlent's commands replaced by ones that write down how they are called."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm" / "train.sbatch"
SAYS = 'echo "$(basename "$0") $*" >> "$CALLS"'
FAKES = {
    "srun": f"""{SAYS}
while [[ $1 == --* ]]; do shift; done
exec "$@"
""",
    "scontrol": f"""{SAYS}
[ "$1" = requeue ] || printf 'n%s\\n' $(seq "$SLURM_JOB_NUM_NODES")
""",
    "vllm": f"""{SAYS}
echo "VLLM_SERVER_DEV_MODE=$VLLM_SERVER_DEV_MODE" >> "$CALLS"
""",
    # Trains until it is stopped, if it is to be stopped.
    "rlent": f"""
trap 'echo "checkpoint written" >> "$CALLS"; exit "$STATUS"' TERM
{SAYS}
[ -n "$UNTIL_STOPPED" ] || exit "$STATUS"
while :; do sleep 0.05; done
""",
}
STEP = "srun --ntasks-per-node=1 --kill-on-bad-exit=1"


@pytest.fixture
def job(tmp_path: Path) -> dict[str, str]:
    """The environment of a job of three nodes."""
    for name, text in FAKES.items():
        path = tmp_path / name
        path.write_text(f"#!/usr/bin/env bash\n{text}")
        path.chmod(0o755)
    return {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "SLURM_JOB_ID": "17",
        "SLURM_JOB_NUM_NODES": "3",
        "SLURM_JOB_NODELIST": "n[1-3]",
        "UNTIL_STOPPED": "",
        "STATUS": "0",
    }


def start(job: dict[str, str]) -> subprocess.Popen[str]:
    command = ["bash", str(SCRIPT), "my.yaml", "name=big"]
    return subprocess.Popen(command, env=job, stderr=subprocess.PIPE, text=True)


def calls(job: dict[str, str]) -> list[str]:
    path = Path(job["CALLS"])
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("status", [0, 3])
def test_all_nodes_train(status: int, job: dict[str, str]) -> None:
    process = start(job | {"STATUS": str(status)})
    process.communicate(timeout=30)
    assert process.returncode == status
    assert calls(job) == [
        "scontrol show hostnames n[1-3]",
        f"{STEP} --nodes=3 --ntasks=3 --nodelist=n1,n2,n3 rlent launch my.yaml name=big --nodes 3",
        "rlent launch my.yaml name=big --nodes 3",
    ]


def test_the_last_node_runs_vllm(job: dict[str, str]) -> None:
    process = start(job | {"VLLM_NODES": "1", "VLLM_MODEL": "some/model", "VLLM_PORT": "8123"})
    process.communicate(timeout=30)
    assert process.returncode == 0
    server = (
        "vllm serve some/model --port 8123 --tensor-parallel-size 8 --logprobs-mode processed_logprobs "
        '--weight-transfer-config {"backend": "nccl"}'
    )
    train = (
        "rlent launch my.yaml name=big rollout.engine=vllm trainer.vllm_mode=server "
        "trainer.vllm_server_base_url=http://n3:8123 trainer.vllm_server_timeout=1800 --nodes 2"
    )
    assert sorted(calls(job)) == sorted(
        [
            "scontrol show hostnames n[1-3]",
            f"{STEP} --nodes=1 --ntasks=1 --nodelist=n3 {server}",
            server,
            "VLLM_SERVER_DEV_MODE=1",
            f"{STEP} --nodes=2 --ntasks=2 --nodelist=n1,n2 {train}",
            train,
        ]
    )


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"VLLM_NODES": "1"}, "the model of the recipe, for the server"),
        ({"VLLM_NODES": "2"}, "VLLM_NODES must be 0 or 1"),
        ({"VLLM_NODES": "1", "SLURM_JOB_NUM_NODES": "1"}, "leave a node to train on"),
    ],
)
def test_a_job_that_cannot_run_is_refused(
    variables: dict[str, str], said: str, job: dict[str, str]
) -> None:
    process = start(job | variables)
    _, shown = process.communicate(timeout=30)
    assert process.returncode != 0
    assert said in shown
    assert not any(call.startswith("srun") for call in calls(job))


@pytest.mark.parametrize(("status", "requeued"), [(1, ["scontrol requeue 17"]), (0, [])])
def test_a_preempted_job_goes_back_into_the_queue_after_its_checkpoint(
    status: int, requeued: list[str], job: dict[str, str]
) -> None:
    process = start(job | {"UNTIL_STOPPED": "yes", "STATUS": str(status)})
    deadline = time.monotonic() + 30
    while not any(call.startswith("rlent") for call in calls(job)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == status
    assert calls(job)[3:] == ["checkpoint written", *requeued]
