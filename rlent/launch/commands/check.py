"""``rlent check``."""

import argparse

from rlent.launch.arguments import Commands, command, recipe_arguments


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "check",
        run,
        "find every mistake in a recipe without running it",
        "Loads the data, finds the model, checks every value, and prints what would happen, what each intervention "
        "needs, and with --resolved the recipe with every default written out. Writes nothing.",
    )
    recipe_arguments(parser)
    parser.add_argument("--resolved", action="store_true", help="print the resolved recipe as YAML")


def run(options: argparse.Namespace) -> int:
    from rlent.config import dump_recipe, load_recipe

    recipe = load_recipe(options.recipe, options.overrides)
    from rlent.launch.loss_run import prepare_loss
    from rlent.launch.prepare import prepare
    from rlent.launch.run_folder import new_run_folder
    from rlent.launch.show import show_deepspeed, show_plan

    folder = new_run_folder(recipe)
    prepared = (prepare if recipe.loss is None else prepare_loss)(recipe, folder)
    show_plan(prepared, folder)
    show_deepspeed(prepared)
    if options.resolved:
        print(f"\n{dump_recipe(recipe)}", end="")
    return 0
