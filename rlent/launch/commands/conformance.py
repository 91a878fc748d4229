"""``rlent conformance``."""

import argparse
from pathlib import Path

from rlent.launch.arguments import Commands, command


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "conformance",
        run,
        "compare rlent with the numbers of the methods' released code",
        "Runs every golden case of a folder and prints a line for each: agrees, the largest difference, or why a "
        "difference is known. Exit status 1 if a case differs.",
    )
    parser.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="a folder of golden cases, such as tests/golden/cases",
    )


def run(options: argparse.Namespace) -> int:
    from rlent.conformance import run_conformance

    return run_conformance(options.folder)
