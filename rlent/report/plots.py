"""The figures of some runs as PNG and PDF for paper."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlent.report.correctness import correctness
from rlent.report.distribution import EDGES, Spread, distribution
from rlent.report.forking import compare_forking_tokens
from rlent.report.positions import entropy_by_position
from rlent.report.runs import Run, RunFiles, configurations, read_run
from rlent.report.series import Band, FoundPanel, bands, found_panels
from rlent.report.trace import Trace
from rlent.report.when import first_and_last, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = "rlent.report.print"
WIDTH, HEIGHT = 3.3, 2.2
"""Inches of one panel."""
FORKS = 12
TITLES = {
    "kept": "kept tokens",
    "dropped": "dropped tokens",
    "correct": "tokens of correct completions",
    "wrong": "tokens of wrong completions",
}
"""Words of each kind of ``rlent.report.distribution``."""


def draw_plots(runs: Sequence[RunFiles], folder: Path) -> list[Path]:
    """Draw the metrics of all runs together and the tokens of each; returns the files, a PNG and a PDF of each figure.

    ``curves``, ``rewards``, ``lengths``, ``time``: panels of metrics, mean over seeds and their range. For each run
    with rollouts ``entropy-RUN`` (shares of tokens in entropy classes over steps), ``positions-RUN`` and, with two
    steps or more, ``forking-RUN``.
    """
    import matplotlib.style

    together = configurations([read_run(files) for files in runs])
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with matplotlib.style.context(STYLE):
        for name, figure in _figures(together):
            for path in (folder / f"{name}.png", folder / f"{name}.pdf"):
                figure.savefig(path)
                written.append(path)
    return written


def _figures(together: dict[str, list[Run]]) -> Iterator[tuple[str, "Figure"]]:
    found = bands(together)
    panels = found_panels(list(found))
    for section in dict.fromkeys(panel.section for panel in panels):
        chosen = [panel for panel in panels if panel.section == section]
        yield section, _curves(chosen, found, several=len(together) > 1)
    for run in (run for seeds in together.values() for run in seeds):
        if run.trace is not None:
            yield f"entropy-{run.name}", _distribution(run.trace)
            yield f"positions-{run.name}", _positions(run.trace)
            if first_and_last(run.trace) is not None:
                yield f"forking-{run.name}", _forking(run.trace)


def _grid(panels: int, columns: int) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure

    columns = min(columns, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(WIDTH * columns, HEIGHT * rows))
    return figure, [figure.add_subplot(rows, columns, place) for place in range(1, panels + 1)]


def _curves(
    panels: Sequence[FoundPanel], found: dict[str, list[Band]], *, several: bool
) -> "Figure":
    figure, places = _grid(len(panels), 3)
    for panel, axes in zip(panels, places, strict=True):
        for metric, words in panel.metrics.items():
            for band in found[metric]:
                label = f"{band.configuration}: {words}" if several else words
                (line,) = axes.plot(band.steps, band.mean, label=label)
                if band.seeds > 1:
                    axes.fill_between(
                        band.steps,
                        band.low,
                        band.high,
                        color=line.get_color(),
                        alpha=0.18,
                        linewidth=0,
                    )
        axes.set(title=panel.title, xlabel="step", ylabel=panel.unit)
        axes.locator_params(axis="x", integer=True)
        axes.legend()
    return figure


def _distribution(trace: Trace) -> "Figure":
    steps, spreads = distribution(trace, correctness(trace))
    drawn = [spread for spread in spreads if spread.count.any()]
    figure, places = _grid(len(drawn), 2)
    for spread, axes in zip(drawn, places, strict=True):
        _shares(axes, steps, spread)
    handles, labels = places[0].get_legend_handles_labels()
    figure.legend(
        handles[::-1],
        labels[::-1],
        loc="outside right center",
        title="entropy (nats)",
        title_fontsize=7,
    )
    return figure


def _shares(axes: "Axes", steps: list[int], spread: Spread) -> None:
    import matplotlib

    total = spread.count.sum(1, keepdims=True)
    share = np.divide(spread.count, total, out=np.zeros(spread.count.shape), where=total > 0)
    below = np.cumsum(share, axis=1) - share
    width = steps[1] - steps[0] if len(steps) > 1 else 1
    colours = matplotlib.colormaps["YlOrRd"](np.linspace(0.0, 0.9, len(EDGES) + 1))
    for k, words in enumerate(class_words()):
        axes.bar(
            steps,
            share[:, k],
            width,
            below[:, k],
            align="edge",
            color=colours[k],
            label=words,
            linewidth=0,
        )
    axes.grid(False)
    axes.set(title=TITLES[spread.kind], xlabel="step", ylabel="share of tokens", ylim=(0, 1))


def class_words() -> list[str]:
    """The entropy classes in words, lowest first."""
    between = [f"{low:g} to {high:g}" for low, high in pairwise(EDGES)]
    return [f"below {EDGES[0]:g}", *between, f"{EDGES[-1]:g} and more"]


def _positions(trace: Trace) -> "Figure":
    figure, (axes,) = _grid(1, 1)
    for period in first_and_last(trace) or (whole(trace),):
        at = entropy_by_position(trace, period)
        (line,) = axes.plot(at.position, at.mean, label=f"steps {period.first} to {period.last}")
        axes.fill_between(
            at.position, at.low, at.high, color=line.get_color(), alpha=0.18, linewidth=0
        )
    axes.set(xlabel="position in the completion", ylabel="entropy (nats)", ylim=(0, None))
    axes.legend()
    return figure


def _forking(trace: Trace) -> "Figure":
    periods = first_and_last(trace)
    assert periods is not None
    tokens = compare_forking_tokens(trace, periods, top=FORKS)[::-1]
    figure, (axes,) = _grid(1, 1)
    figure.set_figheight(max(HEIGHT, 0.16 * len(tokens) + 0.8))
    rows = np.arange(len(tokens))
    first, last = (
        np.asarray([getattr(token, part).entropy for token in tokens]) for part in ("first", "last")
    )
    axes.hlines(rows, first, last, color="0.7", linewidth=1.0)
    for values, marker, period in zip((first, last), ("o", "s"), periods, strict=True):
        label = f"steps {period.first} to {period.last}"
        axes.plot(values, rows, marker=marker, linestyle="none", label=label)
    axes.set_yticks(rows, [_visible(token.text) for token in tokens])
    axes.set(xlabel="mean entropy where sampled (nats)")
    axes.legend()
    return figure


def _visible(text: str) -> str:
    """A token on an axis; matplotlib would read dollars as mathematics."""
    return repr(text).replace("$", r"\$")
