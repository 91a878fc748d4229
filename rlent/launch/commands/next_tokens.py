"""``rlent next-tokens``."""

import argparse
from pathlib import Path

from rlent.launch.arguments import Commands, command


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "next-tokens",
        run,
        "make next-token tasks of a text corpus, from easy to hard ones",
        "Reads JSON lines with a text, has a model score every token's entropy once, and writes for each step the "
        "tokens to ask for and the length to ask for (Reinforcement Mid-Training, arXiv 2509.24375). For example: "
        "rlent next-tokens corpus.jsonl --model Qwen/Qwen3-1.7B --steps 100 --prompts 128 -o tasks.jsonl",
    )
    parser.add_argument("file", type=Path, metavar="FILE.jsonl")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.jsonl")
    parser.add_argument("--model", required=True, help="a packaged model, a folder, or a hub name")
    parser.add_argument("--steps", type=int, required=True, help="steps of the curriculum")
    parser.add_argument("--prompts", type=int, required=True, help="tasks of every step")
    parser.add_argument("--column", default="text", help="of the texts (default: %(default)s)")
    parser.add_argument(
        "--window",
        type=int,
        default=1024,
        metavar="N",
        help="most tokens of a prefix (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: %(default)s)")
    parser.add_argument(
        "--budget",
        type=int,
        default=800,
        metavar="N",
        help="tokens asked for at the first step (default: %(default)s)",
    )
    parser.add_argument(
        "--least-budget",
        type=int,
        default=1,
        metavar="N",
        help="tokens asked for at least (default: %(default)s)",
    )
    parser.add_argument(
        "--decay",
        type=float,
        default=0.2,
        metavar="X",
        help="share of the budget that is left at the last step (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> int:
    from rlent.data.next_tokens import Curriculum
    from rlent.errors import ConfigError
    from rlent.launch.next_tokens import next_tokens

    try:
        curriculum = Curriculum(
            budget=options.budget, least_budget=options.least_budget, decay=options.decay
        )
    except ValueError as error:
        raise ConfigError(str(error), where="command line") from error
    return next_tokens(
        options.file,
        options.output,
        curriculum,
        model=options.model,
        column=options.column,
        window=options.window,
        steps=options.steps,
        prompts=options.prompts,
        seed=options.seed,
    )
