"""DeepSpeed's universal checkpoint: what sharded ranks have written, in a form that any number of ranks can read."""

import subprocess
import sys
from pathlib import Path

from rlent.errors import CheckpointError

SUFFIX = "_universal"


def ranks_of(checkpoint: Path) -> int:
    """How many ranks have written a checkpoint."""
    return len(list(checkpoint.glob("rank-*.pt")))


def make_universal(checkpoint: Path) -> None:
    """Add the universal form to a checkpoint of DeepSpeed's stages 1 to 3, by DeepSpeed's own converter.

    Raises:
        CheckpointError: the converter has failed; with the end of what it said.
    """
    (parts,) = (
        path
        for path in checkpoint.glob("global_step*")
        if path.is_dir() and not path.name.endswith(SUFFIX)
    )
    target = parts.with_name(parts.name + SUFFIX)
    if (checkpoint / "latest_universal").exists():
        return
    converter = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal"]
    folders = ["--input_folder", str(parts), "--output_folder", str(target)]
    # The trainer's optimiser writes no record of its own for the converter, which this fills in.
    done = subprocess.run(
        [*converter, *folders, "--inject_missing_state"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CheckpointError(
            f"{checkpoint} was written by {ranks_of(checkpoint)} processes, and DeepSpeed cannot convert it for "
            f"another number:\n{done.stderr[-2000:]}\n  change: resume with {ranks_of(checkpoint)} processes"
        )
