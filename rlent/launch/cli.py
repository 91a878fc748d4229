"""The command ``rlent``."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from rlent.errors import ConfigError

USER_ERROR = 2
"""Exit status when something must be changed by the user."""

RECIPE_HELP = "a recipe file, such as recipes/quickstart.yaml"
OVERRIDE_HELP = (
    "replace values of the recipe: trainer.learning_rate=1e-6, name=trial, "
    "interventions.forking_tokens.fraction=0.3"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    options = parse(argv)
    try:
        return options.run(options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("\nInterrupted before a checkpoint was written.", file=sys.stderr)
        return 130


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Options of a command line; overrides may stand before and after flags, which argparse alone refuses."""
    parser = build_parser()
    options, rest = parser.parse_known_args(argv)
    stray = [word for word in rest if word.startswith("-") or not hasattr(options, "overrides")]
    if stray:
        parser.error(f"unrecognized arguments: {' '.join(stray)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


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
    train = _command(
        commands,
        "train",
        _train,
        "train a model as a recipe says",
        "Writes runs/NAME with metrics.jsonl, rollouts, checkpoints, the trained model and curves.png. A run that was "
        "stopped with Ctrl-C, or killed, goes on from its newest checkpoint with --resume.",
    )
    _recipe_arguments(train)
    train.add_argument(
        "--resume", action="store_true", help="continue the latest run of this recipe's name"
    )
    check = _command(
        commands,
        "check",
        _check,
        "find every mistake in a recipe without running it",
        "Loads the data, finds the model, checks every value, and prints what would happen, what each intervention "
        "needs, and with --resolved the recipe with every default written out. Writes nothing.",
    )
    _recipe_arguments(check)
    check.add_argument("--resolved", action="store_true", help="print the resolved recipe as YAML")
    interventions = _command(
        commands,
        "interventions",
        _interventions,
        "list the interventions a recipe can name",
        "Name, paper, stages, needs, and every option with its default.",
    )
    interventions.add_argument(
        "--markdown",
        action="store_true",
        help="print the page docs/interventions.md: options explained, and which interventions compose",
    )
    conformance = _command(
        commands,
        "conformance",
        _conformance,
        "compare rlent with the numbers of the methods' released code",
        "Runs every golden case of a folder and prints a line for each: agrees, the largest difference, or why a "
        "difference is known. Exit status 1 if a case differs.",
    )
    conformance.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="a folder of golden cases, such as tests/golden/cases",
    )
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    description: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=description, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def _recipe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help=RECIPE_HELP)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=OVERRIDE_HELP)


# The commands import what they use themselves: `rlent --help` and a typo in a recipe must answer at once.


def _train(options: argparse.Namespace) -> int:
    from rlent.config import load_recipe

    recipe = load_recipe(options.recipe, options.overrides)
    from rlent.launch.train import train

    return train(recipe, resume=options.resume)


def _check(options: argparse.Namespace) -> int:
    from rlent.config import dump_recipe, load_recipe

    recipe = load_recipe(options.recipe, options.overrides)
    from rlent.launch.prepare import prepare
    from rlent.launch.run_folder import new_run_folder
    from rlent.launch.show import show_plan

    folder = new_run_folder(recipe)
    show_plan(prepare(recipe, folder), folder)
    if options.resolved:
        print(f"\n{dump_recipe(recipe)}", end="")
    return 0


def _interventions(options: argparse.Namespace) -> int:
    if options.markdown:
        from rlent.launch.interventions_page import page

        print(page(), end="")
        return 0
    from rlent.launch.interventions_table import print_table

    print_table()
    return 0


def _conformance(options: argparse.Namespace) -> int:
    from rlent.conformance import run_conformance

    return run_conformance(options.folder)
