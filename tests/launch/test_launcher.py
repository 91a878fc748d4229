"""The commands of ``rlent launch``, on one node, on several, and in a SLURM job."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlent.errors import ConfigError
from rlent.launch import launcher
from rlent.launch.cli import main
from rlent.launch.launcher import Launch, command_of

TRAIN = ("--module", "rlent", "train", "my.yaml", "trainer.seed=1")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


def launch(**settings: Any) -> Launch:
    written = ("launch", "my.yaml", "trainer.seed=1")
    return Launch(train=TRAIN[3:], written=written, name="my", **settings)


def test_one_node_needs_no_place_to_meet() -> None:
    command = command_of(launch(processes_per_node=8, max_restarts=3), {})
    assert command.words == (
        *TORCHRUN,
        *("--standalone", "--nproc-per-node=8", "--max-restarts=3"),
        *TRAIN,
    )


def test_several_nodes_meet_at_the_head_which_knows_that_it_is_the_head() -> None:
    command = command_of(launch(nodes=2, processes_per_node=4, head="127.0.0.1:4000"), {})
    assert command.words == (
        *TORCHRUN,
        "--nnodes=2",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=127.0.0.1:4000",
        "--rdzv-conf=is_host=true",
        "--local-addr=127.0.0.1",
        "--rdzv-id=my",
        *("--nproc-per-node=4", "--max-restarts=0"),
        *TRAIN,
    )


def test_a_slurm_job_starts_itself_on_every_node() -> None:
    job = {"SLURM_JOB_ID": "17", "SLURM_JOB_NUM_NODES": "4", "SLURM_JOB_NODELIST": "n[1-4]"}
    command = command_of(launch(), job)
    srun = ("srun", "--nodes=4", "--ntasks=4", "--ntasks-per-node=1")
    assert command.words == (*srun, sys.executable, "-m", "rlent", *launch().written)


def test_a_slurm_step_takes_nodes_head_and_number_from_slurm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def scontrol(words: list[str], **_: Any) -> Any:
        assert words == ["scontrol", "show", "hostnames", "localhost,elsewhere"]
        return subprocess.CompletedProcess(words, 0, stdout="localhost\nelsewhere\n")

    monkeypatch.setattr(launcher.subprocess, "run", scontrol)
    step = {
        "SLURM_JOB_ID": "17",
        "SLURM_JOB_NUM_NODES": "3",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_STEP_NODELIST": "localhost,elsewhere",
    }
    words = command_of(launch(processes_per_node=8), step).words
    assert "--nnodes=2" in words
    assert f"--rdzv-endpoint=localhost:{launcher.PORT}" in words
    assert "--rdzv-conf=is_host=true" in words
    assert "--rdzv-id=17" in words


def test_variables_of_the_user_are_left_alone() -> None:
    own = {
        "OMP_NUM_THREADS": "3",
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "5",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "0",
    }
    assert command_of(launch(processes_per_node=2), own).variables == {}
    wanted = command_of(launch(processes_per_node=2), {}).variables
    assert wanted["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] == "600"
    assert wanted["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "1"


@pytest.mark.parametrize(
    ("settings", "environment", "key"),
    [
        ({"nodes": 2}, {}, "--head"),
        ({"nodes": 2, "head": "no.such.host.invalid"}, {}, "--head"),
        ({"nodes": 5}, {"SLURM_JOB_NUM_NODES": "4"}, "--nodes"),
    ],
)
def test_what_cannot_be_launched_is_refused(
    settings: dict[str, Any], environment: dict[str, str], key: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        command_of(launch(processes_per_node=1, **settings), environment)
    assert caught.value.key == key


def test_dry_run_prints_the_command_and_checks_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    text = "model: {name: m}\ndata: {name: d.jsonl}\nrewards: [math_answer]\n"
    Path("my.yaml").write_text(text)
    words = ["launch", "my.yaml", "--processes-per-node", "2", "--dry-run", "--resume"]
    assert main([*words, "trainer.seed=1"]) == 0
    shown = capsys.readouterr().out
    variables = shown.split(sys.executable)[0].split()
    assert variables[:2] == [
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT=600",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1",
    ]
    assert variables[2].startswith("OMP_NUM_THREADS=")
    assert shown.endswith("--module rlent train my.yaml trainer.seed=1 --resume\n")
    Path("my.yaml").write_text(text + "enigne: {}\n")
    assert main(words) == 2
