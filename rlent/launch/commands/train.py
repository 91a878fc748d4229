"""``rlent train``."""

import argparse

from rlent.launch.arguments import Commands, command, recipe_arguments, resume_argument


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "train",
        run,
        "train a model as a recipe says",
        "Writes runs/NAME with metrics.jsonl, rollouts, checkpoints, the trained model and curves.png. A run that was "
        "stopped with Ctrl-C, or killed, goes on from its newest checkpoint with --resume.",
    )
    recipe_arguments(parser)
    resume_argument(parser)


def run(options: argparse.Namespace) -> int:
    from rlent.config import load_recipe

    recipe = load_recipe(options.recipe, options.overrides)
    from rlent.launch.train import train

    return train(recipe, resume=options.resume)
