"""``rlent compare``: recipes with several seeds each. What has been run is not run again."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rlent.checkpoints import newest_whole
from rlent.config import Recipe, dump_recipe, load_recipe
from rlent.errors import ConfigError, RlentError
from rlent.launch.names import shortest_names
from rlent.launch.run_folder import METRICS_FILE, RECIPE_FILE
from rlent.launch.show import CURVES_FILE, say
from rlent.report.comparison import Outcome, draw, markdown, outcome_of, table
from rlent.report.studies import read_curve
from rlent.tracking import read_metrics
from rlent.trainer.callbacks.held_out import SCORE

INTERRUPTED = 130
"""Exit status after Ctrl-C, as a shell expects it."""
REPORTS = ("comparison.md", "comparison.csv", "comparison.png")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What the command line asks for."""

    recipes: Sequence[Path]
    overrides: Sequence[str]
    """For every recipe."""
    seeds: int
    """Number of them; the seeds are 1, 2 and so on."""
    score: str | None
    """Metric; by default that of the held-out problems, or the reward where a recipe holds none out."""
    jobs: int
    """Runs at the same time."""
    output: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    label: str
    seed: int
    recipe: Recipe
    arguments: tuple[str, ...]
    """Of ``rlent train``."""

    @property
    def folder(self) -> Path:
        return Path(self.recipe.output_dir) / self.recipe.name

    @property
    def finished(self) -> bool:
        # The last file that a run writes.
        return (self.folder / CURVES_FILE).exists()


@dataclass(slots=True)
class _Processes:
    """The runs that are going on."""

    running: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def stop(self) -> None:
        """Let each finish its step and write a checkpoint."""
        for process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)


def compare(asked: Comparison) -> int:
    """Run what is missing, and write the comparison; returns the exit status.

    Raises:
        ConfigError: a recipe cannot be read, or the folder holds runs of other recipes; nothing is run then.
        RlentError: a run has failed.
    """
    for key, value in (("--seeds", asked.seeds), ("--jobs", asked.jobs)):
        if value < 1:
            raise ConfigError("must be at least 1", key=key, given=value)
    _check_recipes(asked.recipes)
    runs = _runs(asked)
    for run in runs:
        _check(run)
    missing = [run for run in runs if not run.finished]
    say(f"runs       {len(runs)}, of which {len(missing)} are to be done, in {asked.output}")
    asked.output.mkdir(parents=True, exist_ok=True)
    try:
        _run_all(missing, asked.jobs)
    except KeyboardInterrupt:
        say("\nStopped. The same command goes on where it was.")
        return INTERRUPTED
    _write(runs, _score(asked, runs), asked.output)
    return 0


def _check_recipes(recipes: Sequence[Path]) -> None:
    if not recipes:
        raise ConfigError("a recipe is needed", expected="RECIPE [RECIPE ...]")
    for place, recipe in enumerate(recipes):
        if recipe.resolve() in {other.resolve() for other in recipes[:place]}:
            raise ConfigError("the recipe is listed twice", given=str(recipe))


def _runs(asked: Comparison) -> list[_Run]:
    labels = shortest_names([recipe.with_suffix("") for recipe in asked.recipes])
    return [
        _run(recipe, label, seed, asked)
        for recipe, label in zip(asked.recipes, labels, strict=True)
        for seed in range(1, asked.seeds + 1)
    ]


def _run(recipe: Path, label: str, seed: int, asked: Comparison) -> _Run:
    overrides = (
        *asked.overrides,
        f"trainer.seed={seed}",
        f"output_dir={asked.output}",
        f"name={label}.seed-{seed}",
    )
    return _Run(
        label=label,
        seed=seed,
        recipe=load_recipe(recipe, overrides),
        arguments=(str(recipe), *overrides),
    )


def _check(run: _Run) -> None:
    """Raise ConfigError if the run's folder is that of another recipe."""
    there = run.folder / RECIPE_FILE
    if there.exists() and there.read_text(encoding="utf-8") != dump_recipe(run.recipe):
        raise ConfigError(
            f"{run.folder} was made from another recipe",
            key="--output",
            expected=f"a folder without it, or the recipe as in {there}",
            remedy="name another --output, or remove that folder",
        )


def _run_all(runs: Sequence[_Run], jobs: int) -> None:
    processes = _Processes()
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(_train, run, processes, jobs) for run in runs]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.stop()
            raise


def _train(run: _Run, processes: _Processes, jobs: int) -> None:
    resume = run.folder.exists() and newest_whole(run.folder, say) is not None
    if run.folder.exists() and not resume:
        shutil.rmtree(run.folder)  # stopped before its first checkpoint: nothing of it can be used
    say(f"{'resume' if resume else 'train':<10} {run.folder}")
    command = [sys.executable, "-m", "rlent", "train", *run.arguments, *["--resume"][: int(resume)]]
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    log = run.folder.with_name(f"{run.folder.name}.log")
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"OMP_NUM_THREADS": threads, **os.environ},
            # Ctrl-C reaches this process alone, which passes it on once: twice would stop a run at once.
            start_new_session=True,
        )
        processes.running.append(process)
        status = process.wait()
    if status:
        raise RlentError(f"{run.folder} has ended with status {status}; see {log}")


def _score(asked: Comparison, runs: Sequence[_Run]) -> str:
    if asked.score is not None:
        return asked.score
    return SCORE if all(run.recipe.evaluation for run in runs) else "reward"


def _write(runs: Sequence[_Run], score: str, folder: Path) -> None:
    outcomes: dict[str, list[Outcome]] = {}
    for run in runs:
        outcome = outcome_of(run.folder / METRICS_FILE, run.label, run.seed, score)
        if outcome is None:
            raise ConfigError(
                f"{run.folder} has not logged this metric",
                key="--score",
                given=score,
                choices=_logged(run.folder / METRICS_FILE),
            )
        outcomes.setdefault(run.label, []).append(outcome)
    text, numbers, picture = (folder / name for name in REPORTS)
    text.write_text(markdown(outcomes, score), encoding="utf-8")
    numbers.write_text(table(outcomes), encoding="utf-8")
    curves = {
        label: [read_curve(run.folder, score) for run in runs if run.label == label]
        for label in outcomes
    }
    draw(outcomes, curves, score, picture)
    say(f"\n{text.read_text(encoding='utf-8')}\n{text}\n{numbers}\n{picture}")


def _logged(metrics: Path) -> list[str]:
    return list({name: None for row in read_metrics(metrics) for name in row})
