"""The processes of a run, joined before anything else asks how many there are."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from rlent.errors import RlentError

if TYPE_CHECKING:
    from rlent.config import Engine

T = TypeVar("T")


def join_processes(engine: "Engine") -> Any:
    """Start the process group that the launcher's environment describes; accelerate's state.

    Collectives wait ``engine.timeout`` seconds for a process that does not come.
    """
    from accelerate import PartialState

    timeout = timedelta(seconds=engine.timeout)
    if not engine.uses_deepspeed:
        return PartialState(cpu=not torch.accelerator.is_available(), timeout=timeout)
    join = PartialState if torch.accelerator.is_available() else _join_for_deepspeed_on_cpu
    state = join(timeout=timeout)
    _time_out_deepspeed(timeout)
    return state


def _join_for_deepspeed_on_cpu(timeout: timedelta) -> Any:
    """accelerate's state for DeepSpeed without an accelerator.

    DeepSpeed runs on CPU processes only if it is told before it is imported, and accelerate only if it is told to use
    gloo while not being told to use the CPU, which would turn DeepSpeed off without a word.
    """
    from accelerate import PartialState

    os.environ |= {"DS_ACCELERATOR": "cpu", "ACCELERATE_USE_DEEPSPEED": "true"}
    # `accelerate launch --cpu` sets it.
    os.environ.pop("ACCELERATE_USE_CPU", None)
    # DeepSpeed needs a process group, also of one process.
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    if "WORLD_SIZE" not in os.environ:
        os.environ |= {**alone, "MASTER_PORT": str(_free_port())}
    _without_shared_memory()
    return PartialState(backend="gloo", timeout=timeout)


def _time_out_deepspeed(timeout: timedelta) -> None:
    """Make DeepSpeed's own copy of the process group, which would have torch's timeout if DeepSpeed made it."""
    if torch.distributed.is_initialized():
        from deepspeed.utils import groups

        groups._WORLD_GROUP = torch.distributed.new_group(timeout=timeout)


def _without_shared_memory() -> None:
    """Keep DeepSpeed from compiling its shared-memory collectives for CPU processes; gloo's are used.

    It does so under a lock file. A process that is killed meanwhile leaves the file, and every later run waits for it.
    """
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def from_the_first(decide: Callable[[], T]) -> T:
    """What ``decide`` gives, or raises, on the first rank, on every rank."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    decided: list[Any] = [None, None]
    if PartialState().is_main_process:
        try:
            decided[0] = decide()
        except RlentError as error:
            decided[1] = error
    broadcast_object_list(decided)
    if decided[1] is not None:
        raise decided[1]
    return decided[0]


def any_rank(flag: bool) -> bool:
    """Whether ``flag`` is set on some rank."""
    from accelerate.utils import gather_object

    return any(gather_object([flag]))


def stop_together(error: Exception | None) -> None:
    """Raise on every rank if one of them has met an error: there the error, on the others one with its message.

    Raises:
        RlentError: names the ranks that have failed and what they have met.
    """
    from accelerate.utils import gather_object

    messages = gather_object([None if error is None else f"{type(error).__name__}: {error}"])
    if error is not None:
        raise error
    failed = [f"rank {rank}: {text}" for rank, text in enumerate(messages) if text is not None]
    if failed:
        raise RlentError("\n".join(failed))


def on_all_ranks(do: Callable[[], T]) -> T:
    """What ``do`` gives on this rank; raises on every rank, as ``stop_together``, where it raises on one.

    ``do`` must not wait for the other ranks.
    """
    done, error = [], None
    try:
        done.append(do())
    except Exception as raised:
        error = raised
    stop_together(error)
    return done[0]


def accelerator_config(engine: "Engine") -> dict[str, Any] | None:
    """What TrainingArguments must be told, so that they take the processes that were joined."""
    from accelerate import PartialState

    joined = bool(PartialState._shared_state)
    if torch.accelerator.is_available() or not engine.uses_deepspeed or not joined:
        return None
    return {"use_configured_state": True}


def _free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
