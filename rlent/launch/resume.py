"""Where a run starts: in a new folder, at the checkpoint that ``--resume`` finds, or where it was restarted."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from transformers import TrainingArguments

from rlent.checkpoints import newest_whole, ranks_of, set_aside_after, step_of
from rlent.config import Recipe
from rlent.errors import ConfigError
from rlent.launch.run_folder import (
    ENVIRONMENT_FILE,
    MODEL_FOLDER,
    launch_id,
    new_run_folder,
    runs_of,
)
from rlent.launch.show import say

RESTART_COUNTS = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")
"""Variables in which torchrun and SLURM count how often they have started the same job again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """The folder of a run, and the checkpoint it goes on from."""

    folder: Path
    checkpoint: Path | None = None


def was_restarted() -> bool:
    """Whether this process belongs to a job that its launcher has started before."""
    return any(int(os.environ.get(name, 0)) for name in RESTART_COUNTS)


def where_to_start(recipe: Recipe, *, resume: bool, restarted: bool) -> Start:
    """The start of a run; nothing is written. Checkpoints that are not whole are reported.

    Args:
        restarted: whether to look for what the same launch has left.

    Raises:
        ConfigError: ``resume``, and no run of this name has a whole checkpoint.
    """
    if restarted:
        for folder in _launched_before(recipe):
            if checkpoint := newest_whole(folder, say):
                return Start(folder=folder, checkpoint=checkpoint)
        say("restarted before the first checkpoint")
    if resume:
        return _latest(recipe)
    return Start(folder=new_run_folder(recipe))


def make_room(start: Start) -> None:
    """Set aside what would be taken for newer than the checkpoint that the run goes on from."""
    if start.checkpoint is not None:
        set_aside_after(start.folder, step_of(start.checkpoint))


def was_split_otherwise(start: Start, args: TrainingArguments) -> bool:
    """Whether the checkpoint holds parts of an optimiser for another number of processes than there are."""
    plugin = args.deepspeed_plugin
    sharded = plugin is not None and plugin.zero_stage > 0
    return (
        sharded and start.checkpoint is not None and ranks_of(start.checkpoint) != args.world_size
    )


def read_universal(args: TrainingArguments) -> None:
    """Tell DeepSpeed to read the universal form of a checkpoint."""
    assert args.deepspeed_plugin is not None
    args.deepspeed_plugin.deepspeed_config["checkpoint"] = {"load_universal": True}


def _latest(recipe: Recipe) -> Start:
    runs = runs_of(recipe)
    if not runs:
        raise ConfigError(
            "there is no run to resume",
            key="name",
            expected=f"a folder {Path(recipe.output_dir) / recipe.name}",
            remedy="start without --resume",
        )
    folder = runs[max(runs)]
    checkpoint = newest_whole(folder, say)
    if checkpoint is None:
        raise ConfigError(
            f"the run {folder} has no whole checkpoint",
            key="name",
            remedy="start without --resume; trainer.save_steps says how often one is written",
        )
    return Start(folder=folder, checkpoint=checkpoint)


def _launched_before(recipe: Recipe) -> list[Path]:
    """Folders of the runs that the same launch has begun and not finished, newest first."""
    runs = {
        number: path
        for number, path in runs_of(recipe).items()
        if not (path / MODEL_FOLDER).exists()
    }
    return [
        runs[number]
        for number in sorted(runs, reverse=True)
        if _launch_of(runs[number]) == launch_id()
    ]


def _launch_of(folder: Path) -> str | None:
    path = folder / ENVIRONMENT_FILE
    return json.loads(path.read_text(encoding="utf-8")).get("launch") if path.exists() else None
