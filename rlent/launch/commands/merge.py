"""``rlent merge``."""

import argparse
from pathlib import Path

from rlent.launch.arguments import Commands, command


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "merge",
        run,
        "make one model of an adapter and the model below it",
        "A run with model.adapter saves the adapter alone. This writes the whole model, as if all weights had been "
        "trained: rlent merge runs/NAME",
    )
    parser.add_argument(
        "folder", type=Path, metavar="RUN", help="a run, a checkpoint or an adapter"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: RUN/merged")


def run(options: argparse.Namespace) -> int:
    from rlent.launch.merge import merge

    return merge(options.folder, options.output)
