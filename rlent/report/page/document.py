"""The page as one file: template, style, script, and the data blocks."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from rlent.interventions.entropy_band import EntropyBand
from rlent.report.band import band_side
from rlent.report.page.blocks import json_block
from rlent.report.page.completions import Shown, completion_blocks
from rlent.report.page.sample import sample_completions
from rlent.report.page.summary import summarise
from rlent.report.runs import Run, RunFiles, configurations, read_run

SCRIPTS = (
    "names.js",
    "decode.js",
    "dom.js",
    "format.js",
    "scale.js",
    "chart.js",
    "line_chart.js",
    "share_chart.js",
    "table.js",
    "tokens.js",
    "filter.js",
    "list.js",
    "detail.js",
    "completions.js",
    "sections.js",
    "main.js",
)
"""In the order in which they need one another; the page has them as one module."""

MOST_COMPLETIONS = 10_000


def write_page(runs: Sequence[RunFiles], page: Path, most: int = MOST_COMPLETIONS) -> None:
    """Write the report of some runs, under a temporary name until it is whole.

    Args:
        most: completions that the page holds, all runs together; of more, whole groups are taken evenly over each run.
    """
    together = configurations([read_run(files) for files in runs])
    listed = [run for seeds in together.values() for run in seeds]
    shown = [_shown(run, most // len(listed)) for run in listed]
    unfinished = page.with_name(f"{page.name}.unfinished")
    with unfinished.open("w", encoding="utf-8", newline="\n") as file:
        head, tail = _around_the_data(", ".join(run.name for run in listed))
        file.write(head)
        for name, block in _blocks(json_block(summarise(together, shown)), shown):
            file.write(f'<script type="application/octet-stream" id="{name}">{block}</script>\n')
        file.write(tail)
    unfinished.replace(page)


def _shown(run: Run, most: int) -> Shown | None:
    if run.trace is None:
        return None
    settings = run.interventions().get(EntropyBand.name)
    band = None if settings is None else band_side(run.trace, EntropyBand(**settings))
    return Shown(trace=run.trace, rows=sample_completions(run.trace, most), band=band)


def _blocks(summary: str, shown: Sequence[Shown | None]) -> Iterator[tuple[str, str]]:
    yield "summary", summary
    yield from completion_blocks(shown)


def _around_the_data(title: str) -> tuple[str, str]:
    """What stands before and after the data blocks.

    The policy lets the browser run this script and use this style alone, and load nothing: text of a run that found a
    way into the page would still do nothing.
    """
    static = files("rlent.report.page") / "static"
    style = (static / "style.css").read_text(encoding="utf-8")
    script = "\n".join((static / name).read_text(encoding="utf-8") for name in SCRIPTS)
    style, script = f"\n{style}", f'\n"use strict";\n{script}'
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    page = Template((static / "template.html").read_text(encoding="utf-8")).substitute(
        title=escape(title), policy=escape(policy), style=style, script=script, data=_MARK
    )
    head, _, tail = page.partition(_MARK)
    return head, tail


_MARK = "\0"


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
