"""``rlent select``."""

import argparse
from pathlib import Path

from rlent.launch.arguments import Commands, command


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "select",
        run,
        "write the problems of an evaluated set that a model solves least surely, to train on them",
        "Ranks the problems of a set by the variance, over the drawn completions, of being correct, and writes the "
        "first ones as rows with prompt and answer, which data.name of a recipe can name; their prompts are whole, so "
        "that recipe has no data.prompt and no data.system. For example: "
        "rlent select runs/evaluations/quickstart/checkpoint-20/held_out --top 1 --output prompt.jsonl",
    )
    parser.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="folder of one set that `rlent eval --samples K` has written",
    )
    parser.add_argument(
        "--top", type=int, default=1, metavar="N", help="rows to write (default: %(default)s)"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.jsonl")


def run(options: argparse.Namespace) -> int:
    from rlent.launch.select import select

    return select(options.folder, options.top, options.output)
