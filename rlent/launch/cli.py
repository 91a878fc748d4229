"""The command ``rlent``."""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from rlent.errors import ConfigError, RlentError
from rlent.launch.commands import COMMANDS

FAILURE = 1
"""Exit status when a run could not go on."""
USER_ERROR = 2
"""Exit status when something must be changed by the user."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    # What a recipe names may stand in the working directory, which `python -m rlent` finds and a script does not.
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append("")
    options = parse(argv)
    try:
        return options.run(options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return USER_ERROR
    except RlentError as error:
        print(error, file=sys.stderr)
        return FAILURE
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(
            f"the disk is full: {error}\n  change: make room; --resume goes on from the newest checkpoint",
            file=sys.stderr,
        )
        return FAILURE
    except KeyboardInterrupt:
        print("\nInterrupted before a checkpoint was written.", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rlent",
        description=(
            "Reinforcement-learning post-training of language models at the level of single tokens and their entropy. "
            "A run is described by a recipe; start with: rlent train recipes/quickstart.yaml"
        ),
    )
    parser.add_argument("--version", action="version", version=f"rlent {version('rlent')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Options of a command line; overrides may stand before and after flags, which argparse alone refuses."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser()
    options, rest = parser.parse_known_args(argv)
    stray = [word for word in rest if word.startswith("-") or not hasattr(options, "overrides")]
    if stray:
        parser.error(f"unrecognized arguments: {' '.join(stray)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    options.command_line = argv
    return options
