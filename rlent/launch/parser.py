"""The commands of ``rlent`` with their arguments, and the help that teaches them."""

import argparse
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from rlent.launch import actions

RECIPE_HELP = "a recipe file, such as recipes/quickstart.yaml"
OVERRIDE_HELP = (
    "replace values of the recipe: trainer.learning_rate=1e-6, name=trial, "
    "interventions.forking_tokens.fraction=0.3"
)


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
        actions.train,
        "train a model as a recipe says",
        "Writes runs/NAME with metrics.jsonl, rollouts, checkpoints, the trained model and curves.png. A run that was "
        "stopped with Ctrl-C, or killed, goes on from its newest checkpoint with --resume.",
    )
    _recipe_arguments(train)
    train.add_argument(
        "--resume", action="store_true", help="continue the latest run of this recipe's name"
    )
    launch = _command(
        commands,
        "launch",
        actions.launch,
        "train on many processes and nodes, by torchrun",
        "Starts torchrun with `rlent train RECIPE` on this node; run it on every node, with the same --head. Inside a "
        "SLURM job it takes the nodes from SLURM, and starts itself on all of them. A worker that dies is restarted "
        "with all others up to --max-restarts times, from the newest whole checkpoint. docs/launching.md has the plain "
        "commands for torchrun, accelerate and deepspeed.",
    )
    _recipe_arguments(launch)
    launch.add_argument("--nodes", type=int, metavar="N", help="default: SLURM's, or 1")
    launch.add_argument(
        "--processes-per-node", type=int, metavar="M", help="default: one per accelerator, or 1"
    )
    launch.add_argument(
        "--head", metavar="HOST[:PORT]", help="node where all meet; default: the first of SLURM's"
    )
    launch.add_argument("--max-restarts", type=int, default=0, metavar="K", help="default: 0")
    launch.add_argument(
        "--resume", action="store_true", help="continue the latest run of this recipe's name"
    )
    launch.add_argument(
        "--dry-run", action="store_true", help="print the command and do nothing else"
    )
    merge = _command(
        commands,
        "merge",
        actions.merge,
        "make one model of an adapter and the model below it",
        "A run with model.adapter saves the adapter alone. This writes the whole model, as if all weights had been "
        "trained: rlent merge runs/NAME",
    )
    merge.add_argument("folder", type=Path, metavar="RUN", help="a run, a checkpoint or an adapter")
    merge.add_argument("--output", type=Path, metavar="DIR", help="default: RUN/merged")
    check = _command(
        commands,
        "check",
        actions.check,
        "find every mistake in a recipe without running it",
        "Loads the data, finds the model, checks every value, and prints what would happen, what each intervention "
        "needs, and with --resolved the recipe with every default written out. Writes nothing.",
    )
    _recipe_arguments(check)
    check.add_argument("--resolved", action="store_true", help="print the resolved recipe as YAML")
    data = _command(
        commands,
        "data",
        actions.data,
        "show the rows of a recipe, the lengths of their prompts, and what is wrong with them",
        "Reads the data as a run would, writes nothing, and needs no more of the machine than the model's tokenizer. "
        "Prints the columns; prompt tokens as min, median, p95 and max, chat template included; every kind of problem "
        "with its count and the file and line of the first ones: rows that cannot be read, rows without answer, "
        "duplicates, prompts that are too short or too long; and the first rows as the model sees them. "
        "Exit status 1 if a problem would stop a run. What a recipe can say about its data: docs/data.md.",
    )
    _recipe_arguments(data)
    data.add_argument(
        "--rows", type=int, default=3, metavar="N", help="how many rows to print (default: 3)"
    )
    evaluate = _command(
        commands,
        "eval",
        actions.eval,
        "evaluate a checkpoint on the sets of a recipe",
        "Answers the held-out problems of the recipe and every set of evaluation.sets: greedily for pass@1, and with "
        "evaluation.samples=K also K drawn times for avg@K, pass@k and maj@K. Prints each number with a 95% interval "
        "over problems, and writes summary.json, problems.parquet and every completion as Parquet. An evaluation that "
        "was stopped or killed goes on where it was when the same command is given again. Several processes share the "
        "work: torchrun --nproc-per-node=2 -m rlent eval ... "
        "For example: rlent eval recipes/quickstart.yaml --checkpoint runs/quickstart --samples 8",
    )
    _recipe_arguments(evaluate)
    evaluate.add_argument(
        "--checkpoint",
        metavar="C",
        help="a checkpoint folder (runs/NAME/checkpoint-20), a run folder (its model, or its newest checkpoint while "
        "there is none), or a model by folder or name; by default the model that the recipe starts from",
    )
    evaluate.add_argument(
        "--output",
        metavar="DIR",
        help="folder of the results (default: OUTPUT_DIR/evaluations/NAME/CHECKPOINT)",
    )
    evaluate.add_argument(
        "--samples",
        type=int,
        metavar="K",
        help="short for evaluation.samples=K; sets that say their own number keep it",
    )
    evaluate.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME",
        dest="sets",
        help="evaluate this set alone (held_out, or a key of evaluation.sets); can be given several times",
    )
    select = _command(
        commands,
        "select",
        actions.select,
        "write the problems of an evaluated set that a model solves least surely, to train on them",
        "Ranks the problems of a set by the variance, over the drawn completions, of being correct, and writes the "
        "first ones as rows with prompt and answer, which data.name of a recipe can name; their prompts are whole, so "
        "that recipe has no data.prompt and no data.system. For example: "
        "rlent select runs/evaluations/quickstart/checkpoint-20/held_out --top 1 --output prompt.jsonl",
    )
    select.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="folder of one set that `rlent eval --samples K` has written",
    )
    select.add_argument(
        "--top", type=int, default=1, metavar="N", help="rows to write (default: %(default)s)"
    )
    select.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.jsonl")
    _cold_start_command(commands)
    _next_tokens_command(commands)
    interventions = _command(
        commands,
        "interventions",
        actions.interventions,
        "list the interventions, surrogates and losses a recipe can name",
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
        actions.conformance,
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
    _report_commands(commands)
    _calibrate_command(commands)
    _difficulty_command(commands)
    _replay_command(commands)
    _inspect_command(commands)
    _compare_command(commands)
    return parser


def _cold_start_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands,
        "cold-start",
        actions.cold_start,
        "of several solutions of every problem, take the one whose length fits how hard the problem is",
        "Reads JSON lines with prompt, length (tokens) and pass_rate, several for a prompt, and writes for each prompt "
        "the row whose length is nearest to (1 - p) L(0) + p L(1), p its pass rate (AdaCS of ARES, arXiv 2510.08457). "
        "For example: rlent cold-start solutions.jsonl --rates runs/evaluations/NAME/CHECKPOINT/held_out "
        "-o chosen.jsonl",
    )
    parser.add_argument("file", type=Path, metavar="FILE.jsonl")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.jsonl")
    parser.add_argument(
        "--rates",
        type=Path,
        metavar="DIR",
        help="take pass rates from this set, which `rlent eval --samples K` has written, by prompt",
    )
    parser.add_argument(
        "--hardest",
        type=float,
        metavar="L",
        help="length at pass rate 0 (default: the median of the solutions of problems that are never solved)",
    )
    parser.add_argument(
        "--easiest",
        type=float,
        metavar="L",
        help="length at pass rate 1 (default: the median of the solutions of problems that are always solved)",
    )


def _next_tokens_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands,
        "next-tokens",
        actions.next_tokens,
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


def _compare_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    compare = _command(
        commands,
        "compare",
        actions.compare,
        "train recipes with several seeds each, and compare them",
        "Runs `rlent train` for every recipe and seed that is not there yet, and writes comparison.md, .csv and .png: "
        "final score and area under the curve with 95% intervals over seeds, paired tests against the first recipe "
        "(t test and exact sign flips), entropy, lengths, time and tokens. Ctrl-C lets each run write a checkpoint; "
        "the same command goes on from there. For example: "
        "rlent compare recipes/beyond_80_20/small.yaml recipes/ce_gppo/small.yaml --seeds 3 --jobs 2",
    )
    compare.add_argument(
        "words",
        nargs="+",
        metavar="RECIPE|KEY=VALUE",
        help="recipe files, the first is what the others are compared with; and values replaced in all of them",
    )
    compare.add_argument(
        "--seeds", type=int, default=3, metavar="K", help="seeds 1 to K (default: %(default)s)"
    )
    compare.add_argument(
        "--score",
        metavar="METRIC",
        help="what is compared (default: held_out/score, or reward where problems are not held out)",
    )
    compare.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs at a time (default: %(default)s)"
    )
    compare.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("runs/compare"),
        metavar="DIR",
        help="folder of runs and results; what it holds is not run again (default: %(default)s)",
    )
    compare.set_defaults(overrides=[])


def _calibrate_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    calibrate = _command(
        commands,
        "calibrate",
        actions.calibrate,
        "entropy thresholds from an evaluation: when to stop, and which candidates to keep",
        "Reads the completions that rlent eval has written. From the first problems of the set it computes the "
        "entropies at or below which a greedy answer is taken (arXiv 2510.08146) and, if there are drawn completions, "
        "the total entropy up to which candidates are kept so that a set holds a correct one with probability "
        "1 - alpha (arXiv 2509.00461), and says what both do to the other problems. For example: "
        "rlent calibrate runs/evaluations/grpo/small-arithmetic/held_out --problems 32",
    )
    calibrate.add_argument("folder", type=Path, metavar="FOLDER", help="of a set's results")
    calibrate.add_argument(
        "--problems",
        type=int,
        required=True,
        metavar="N",
        help="problems to calibrate on, the first of the set; the others are tried",
    )
    calibrate.add_argument(
        "--alpha",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="sets that may lack a correct candidate (default: %(default)s)",
    )


def _difficulty_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands,
        "difficulty",
        actions.difficulty,
        "label the problems of an evaluated set as easy, normal or hard, by accuracy and entropy",
        "A problem is normal if its drawn completions' accuracy is at least ALPHA and their tokens' mean entropy at "
        "most BETA, else hard if the accuracy is below GAMMA, else easy (DiffAdapt, arXiv 2510.19669). Writes each "
        "problem with its label and the label's temperature and token limit, and prints which share of the tokens "
        "those limits would keep. The paper's thresholds could not be verified, so there are no defaults. For "
        "example: rlent difficulty runs/evaluations/grpo/small-arithmetic/held_out --alpha 0.5 --beta 0.35 "
        "--gamma 0.25 -o rows.jsonl",
    )
    parser.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="folder of one set that `rlent eval --samples K` has written",
    )
    parser.add_argument(
        "--alpha", type=float, required=True, metavar="A", help="least accuracy of normal problems"
    )
    parser.add_argument(
        "--beta",
        type=float,
        required=True,
        metavar="B",
        help="highest mean entropy of normal problems, in nats",
    )
    parser.add_argument(
        "--gamma",
        type=float,
        required=True,
        metavar="C",
        help="accuracy below which problems that are not normal are hard",
    )
    parser.add_argument(
        "--probe",
        metavar="MODEL",
        help="try to predict the labels from this model's hidden states of the prompts: fitted on the first half of "
        "the problems, tried on the other",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.jsonl")


def _replay_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    replay = _command(
        commands,
        "replay",
        actions.replay,
        "what other interventions would have done to a run's rollouts, without a model",
        "Reads the rollouts that a run has saved, and applies the interventions to them as the trainer would at the "
        "first update on each. Prints a table: tokens selected, their entropy and weight, completions that something "
        "is learnt from, and the first-order change of entropy, as recorded, under plain GRPO, and under these "
        "interventions. Writes RUN/replays/NAME with the rollouts, the metrics of every step and report.html. What "
        "needs more than was saved, such as a reference policy or a second update, is refused by name. For example: "
        'rlent replay runs/quickstart --interventions "forking_tokens: {fraction: 0.1}" dynamic_sampling',
    )
    replay.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a run")
    replay.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=OVERRIDE_HELP)
    _interventions_argument(replay, required=True)
    replay.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="a folder to make (default: RUN/replays/NAME)",
    )


def _inspect_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    inspect = _command(
        commands,
        "inspect",
        actions.inspect,
        "sample from a model, and see what interventions would do to it, without training",
        "Samples completions with rlent's own engine and scores them. Shows for plain GRPO, for each intervention "
        "alone and for all of them together which tokens would be selected and weighted, and the first-order effect on "
        "entropy: exact over the vocabulary, per unit of a step on the logits. Prints a table and writes "
        "inspections/MODEL/report.html. Further settings are those of a recipe: data.style=plain, "
        "trainer.temperature=0.7, trainer.num_generations=4. For example: "
        "rlent inspect runs/quickstart --prompts problems.jsonl --interventions forking_tokens steer",
    )
    inspect.add_argument(
        "model",
        metavar="MODEL",
        help="a packaged model, a folder, a hub name, a run or a checkpoint",
    )
    inspect.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=OVERRIDE_HELP)
    inspect.add_argument(
        "--prompts",
        required=True,
        metavar="FILE",
        help="rows with a question, and an answer that the rewards read (.jsonl, .parquet, .csv), or anything else "
        "that data.name of a recipe can be",
    )
    _interventions_argument(inspect, required=False)
    inspect.add_argument(
        "--rewards",
        nargs="+",
        default=["math_answer"],
        metavar="ENTRY",
        help="as in a recipe; advantages are made of them (default: math_answer)",
    )
    inspect.add_argument(
        "--size", type=int, default=16, metavar="N", help="most prompts (default: %(default)s)"
    )
    inspect.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="a folder to make (default: inspections/MODEL)",
    )


def _interventions_argument(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--interventions",
        nargs="+",
        default=[],
        required=required,
        metavar="ENTRY",
        help='names, or entries as in a recipe: "forking_tokens: {fraction: 0.1}"; in the order they act',
    )


def _report_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    report = _command(
        commands,
        "report",
        actions.report,
        "see what entropy did: a run as one HTML page",
        "Writes one file that opens in any browser, from disk, without a network: curves with their spread over seeds, "
        "the entropy of kept, dropped, correct and wrong tokens over training, every completion with each token shaded "
        "by its entropy, forking tokens of the first and the last steps, rewards, lengths, time. Runs that differ in "
        "their seed alone are drawn as one line with a band: rlent report runs/seed1 runs/seed2 -o seeds.html",
    )
    _run_arguments(report, "report.html in the run's folder, or here for several runs")
    report.add_argument(
        "--completions",
        type=int,
        default=10_000,
        metavar="N",
        help="completions the page holds; of more, whole groups are taken evenly over the run (default: %(default)s)",
    )
    plot = _command(
        commands,
        "plot",
        actions.plot,
        "draw the figures of a run as PNG and PDF",
        "Curves with their spread over seeds, and for every run the distribution of entropy over training, the entropy "
        "of each position, and the forking tokens of the first and the last steps. The style is for paper; use it for "
        'your own figures with matplotlib.style.use("rlent.report.print").',
    )
    _run_arguments(plot, "the folder plots in the run's folder, or here for several runs")


def _run_arguments(parser: argparse.ArgumentParser, output: str) -> None:
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, such as runs/quickstart"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PATH", help=f"where to write (default: {output})"
    )


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
