"""What the arguments of several commands have in common."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What ``ArgumentParser.add_subparsers`` returns."""


def command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    description: str,
) -> argparse.ArgumentParser:
    """A command, with what ``rlent --help`` and ``rlent NAME --help`` say of it."""
    parser = commands.add_parser(name, help=summary, description=description, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def recipe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recipe",
        type=Path,
        metavar="RECIPE",
        help="a recipe file, such as recipes/quickstart.yaml",
    )
    override_argument(parser)


def override_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="replace values of the recipe: trainer.learning_rate=1e-6, name=trial, "
        "interventions.forking_tokens.fraction=0.3",
    )


def resume_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resume", action="store_true", help="continue the latest run of this recipe's name"
    )


def run_arguments(parser: argparse.ArgumentParser, output: str) -> None:
    """Folders of runs, and where to write what is made of them; ``output`` says the default."""
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, such as runs/quickstart"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PATH", help=f"where to write (default: {output})"
    )


def interventions_argument(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--interventions",
        nargs="+",
        default=[],
        required=required,
        metavar="ENTRY",
        help='names, or entries as in a recipe: "forking_tokens: {fraction: 0.1}"; in the order they act',
    )
