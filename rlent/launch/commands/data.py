"""``rlent data``."""

import argparse

from rlent.launch.arguments import Commands, command, recipe_arguments


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "data",
        run,
        "show the rows of a recipe, the lengths of their prompts, and what is wrong with them",
        "Reads the data as a run would, writes nothing, and needs no more of the machine than the model's tokenizer. "
        "Prints the columns; prompt tokens as min, median, p95 and max, chat template included; every kind of problem "
        "with its count and the file and line of the first ones: rows that cannot be read, rows without answer, "
        "duplicates, prompts that are too short or too long; and the first rows as the model sees them. "
        "Exit status 1 if a problem would stop a run. What a recipe can say about its data: docs/data.md.",
    )
    recipe_arguments(parser)
    parser.add_argument(
        "--rows", type=int, default=3, metavar="N", help="how many rows to print (default: 3)"
    )


def run(options: argparse.Namespace) -> int:
    from rlent.config import load_recipe

    recipe = load_recipe(options.recipe, options.overrides)
    from rlent.launch.data_page import show_data

    return show_data(recipe, rows=options.rows)
