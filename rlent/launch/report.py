"""``rlent report`` and ``rlent plot``: a run's folder becomes something to look at."""

from collections.abc import Sequence
from pathlib import Path

from rlent.errors import ConfigError
from rlent.launch.names import shortest_names
from rlent.launch.run_folder import METRICS_FILE, RECIPE_FILE, ROLLOUTS_FOLDER
from rlent.report.page import write_page
from rlent.report.plots import draw_plots
from rlent.report.runs import RunFiles

PAGE_FILE = "report.html"
PLOTS_FOLDER = "plots"


def report(folders: Sequence[Path], output: Path | None, most: int) -> int:
    """Write the page of some runs; returns the exit status.

    Raises:
        ConfigError: a folder holds no run, the page cannot be put where it was asked for, or ``most`` is not positive.
    """
    if most < 1:
        raise ConfigError(
            "a report needs completions", key="--completions", expected="1 or more", given=most
        )
    runs = run_files(folders)
    page = output or (folders[0] if len(folders) == 1 else Path()) / PAGE_FILE
    if not page.parent.is_dir() or page.is_dir():
        raise ConfigError(
            "the report cannot be written there",
            expected="a file name in a folder that exists",
            given=str(page),
            remedy="give another --output",
        )
    write_page(runs, page, most)
    print(f"report  {page}  ({page.stat().st_size / 1e6:.1f} MB, opens in any browser)")
    return 0


def plot(folders: Sequence[Path], output: Path | None) -> int:
    """Write every figure of some runs as PNG and PDF; returns the exit status.

    Raises:
        ConfigError: a folder holds no run.
    """
    runs = run_files(folders)
    target = output or (folders[0] if len(folders) == 1 else Path()) / PLOTS_FOLDER
    for figure in draw_plots(runs, target):
        print(f"plot    {figure}")
    return 0


def run_files(folders: Sequence[Path]) -> list[RunFiles]:
    """The files of every run, each folder once, under the shortest ends of their paths that tell them apart.

    Raises:
        ConfigError: one of them is no folder of a run.
    """
    for folder in folders:
        _check(folder)
    distinct = list(dict.fromkeys(folder.resolve() for folder in folders))
    return [
        RunFiles(
            name=name,
            metrics=folder / METRICS_FILE,
            rollouts=folder / ROLLOUTS_FOLDER,
            recipe=folder / RECIPE_FILE,
        )
        for folder, name in zip(distinct, shortest_names(distinct), strict=True)
    ]


def _check(folder: Path) -> None:
    if not (folder / METRICS_FILE).is_file():
        raise ConfigError(
            "this is not the folder of a run",
            expected=f"a folder with {METRICS_FILE}, such as runs/NAME",
            given=str(folder),
            choices=[str(path.parent) for path in sorted(folder.parent.glob(f"*/{METRICS_FILE}"))],
        )
