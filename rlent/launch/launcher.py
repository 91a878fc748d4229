"""``rlent launch``: the torchrun command of a recipe, here or as part of a SLURM job."""

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rlent.errors import ConfigError

PORT = 29500
SHUTDOWN_SECONDS = "600"
"""How long torchrun waits after SIGTERM before it kills: a step may have to end, and a checkpoint to be written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """What the command line asks for; None is left to SLURM and the machine."""

    train: Sequence[str]
    """Arguments of ``rlent train``."""
    written: Sequence[str]
    """The command line itself, which SLURM runs once more on every node."""
    name: str
    """Of the recipe: what the nodes of one launch have in common where no job has a number."""
    nodes: int | None = None
    processes_per_node: int | None = None
    head: str | None = None
    """``HOST`` or ``HOST:PORT`` of the node where the others meet."""
    max_restarts: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A command line and the variables it is run with."""

    words: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.variables.items()]
        return " ".join([*variables, shlex.join(self.words)])


def command_of(launch: Launch, environment: Mapping[str, str]) -> Command:
    """torchrun for this node; inside a SLURM job but outside of a step, srun that starts it on every node.

    Raises:
        ConfigError: more nodes than SLURM has given, or several nodes without a place to meet.
    """
    nodes = launch.nodes or _slurm_nodes(environment) or 1
    given = _slurm_nodes(environment)
    if given is not None and nodes > given:
        raise ConfigError(
            "more nodes than the SLURM job has",
            key="--nodes",
            expected=f"at most {given}",
            given=nodes,
        )
    if given is not None and nodes > 1 and "SLURM_STEP_ID" not in environment:
        step = ("srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1")
        return Command(words=(*step, sys.executable, "-m", "rlent", *launch.written))
    processes = launch.processes_per_node or _accelerators()
    words = (
        *(sys.executable, "-m", "torch.distributed.run"),
        *_meeting(launch, nodes, environment),
        f"--nproc-per-node={processes}",
        f"--max-restarts={launch.max_restarts}",
        *("--module", "rlent", "train", *launch.train),
    )
    return Command(words=words, variables=_variables(processes, environment))


def start(command: Command) -> None:
    """Become the command."""
    os.execvpe(command.words[0], command.words, {**os.environ, **command.variables})


def _meeting(launch: Launch, nodes: int, environment: Mapping[str, str]) -> list[str]:
    """Where the nodes of a launch find each other, and what they call it."""
    if nodes == 1 and launch.head is None:
        return ["--standalone"]
    head = launch.head or _slurm_head(environment)
    if head is None:
        raise ConfigError(
            "several nodes need a place to meet",
            key="--head",
            expected="HOST or HOST:PORT of the first node, the same on every node",
            remedy="run `rlent launch ... --nodes N --head HOST` on each node, or inside a SLURM job",
        )
    host, _, port = head.partition(":")
    own, is_host = _address_towards(host)
    return [
        f"--nnodes={nodes}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={host}:{port or PORT}",
        # torchrun goes by the machine's name, which need not lead to the network on which the nodes meet.
        f"--rdzv-conf=is_host={str(is_host).lower()}",
        f"--local-addr={own}",
        f"--rdzv-id={environment.get('SLURM_JOB_ID', launch.name)}",
    ]


def _address_towards(host: str) -> tuple[str, bool]:
    """This machine's address on the way to ``host``, and whether ``host`` is this machine."""
    try:
        family, _, _, _, place = socket.getaddrinfo(host, PORT, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(place)  # sends nothing: it only chooses the way
            own = probe.getsockname()[0]
    except OSError as error:
        raise ConfigError(
            f"cannot be reached: {error.strerror}", key="--head", given=host
        ) from error
    return own, own == place[0]


def _slurm_nodes(environment: Mapping[str, str]) -> int | None:
    """Nodes of the SLURM step, or else of the job."""
    for name in ("SLURM_STEP_NUM_NODES", "SLURM_JOB_NUM_NODES"):
        if name in environment:
            return int(environment[name])
    return None


def _slurm_head(environment: Mapping[str, str]) -> str | None:
    for name in ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"):
        if name in environment:
            asked = ["scontrol", "show", "hostnames", environment[name]]
            return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()[
                0
            ]
    return None


def _accelerators() -> int:
    import torch

    return torch.accelerator.device_count() or 1


def _variables(processes: int, environment: Mapping[str, str]) -> dict[str, str]:
    wanted = {
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": SHUTDOWN_SECONDS,
        # torchrun's agent keeps one store for all its restarts, with the addresses of the processes that have died:
        # gloo calls them and is refused. With this the first process of each start has a store of its own.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes)),
    }
    return {name: value for name, value in wanted.items() if name not in environment}
