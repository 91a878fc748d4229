"""``rlent launch``."""

import argparse
import os

from rlent.launch.arguments import Commands, command, recipe_arguments, resume_argument


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "launch",
        run,
        "train on many processes and nodes, by torchrun",
        "Starts torchrun with `rlent train RECIPE` on this node; run it on every node, with the same --head. Inside a "
        "SLURM job it takes the nodes from SLURM, and starts itself on all of them. A worker that dies is restarted "
        "with all others up to --max-restarts times, from the newest whole checkpoint. docs/launching.md has the plain "
        "commands for torchrun, accelerate and deepspeed.",
    )
    recipe_arguments(parser)
    parser.add_argument("--nodes", type=int, metavar="N", help="default: SLURM's, or 1")
    parser.add_argument(
        "--processes-per-node", type=int, metavar="M", help="default: one per accelerator, or 1"
    )
    parser.add_argument(
        "--head", metavar="HOST[:PORT]", help="node where all meet; default: the first of SLURM's"
    )
    parser.add_argument("--max-restarts", type=int, default=0, metavar="K", help="default: 0")
    resume_argument(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="print the command and do nothing else"
    )


def run(options: argparse.Namespace) -> int:
    from rlent.config import load_recipe
    from rlent.launch.launcher import Launch, command_of, start

    recipe = load_recipe(options.recipe, options.overrides)
    launch = Launch(
        train=[
            str(options.recipe),
            *options.overrides,
            *(["--resume"] if options.resume else []),
        ],
        written=options.command_line,
        name=recipe.name,
        nodes=options.nodes,
        processes_per_node=options.processes_per_node,
        head=options.head,
        max_restarts=options.max_restarts,
    )
    torchrun = command_of(launch, os.environ)
    if options.dry_run:
        print(torchrun)
        return 0
    start(torchrun)
    return 0
