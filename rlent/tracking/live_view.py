"""What a terminal shows of a run while it trains: numbers, a curve of each, and a completion shaded by entropy."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

BLOCKS = "▁▂▃▄▅▆▇█"
CURVE_POINTS = 24
SHADES = ((0.25, "dim"), (1.0, ""), (2.0, "yellow"), (float("inf"), "bold red"))
"""Styles of a token, and the entropy in nats below which each is used; tokens that learn are underlined."""
LONGEST_COMPLETION = 300
"""Tokens shown of a completion."""

# Control characters become visible signs: a completion must not move the cursor.
_VISIBLE = (
    {code: 0x2400 + code for code in range(32)}
    | {0x0A: "⏎\n", 0x7F: 0x2421}
    | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
)


@dataclass(kw_only=True)
class Progress:
    """How far a run is, and what its last log line said."""

    total: int
    step: int = 0
    first: int = 0
    """Step at which this process began; more than 0 after a resume."""
    started: float = field(default_factory=time.monotonic)
    generated: float = 0.0
    """Completion tokens of all ranks since this process began."""
    logs: dict[str, float] = field(default_factory=dict)
    """Every metric, as last logged."""
    curves: dict[str, list[float]] = field(default_factory=dict)
    """All logged values of the metrics that are drawn."""
    warned: tuple[str, ...] = ()
    logged_step: int = 0

    def add(self, step: int, logs: Mapping[str, Any]) -> None:
        """Take in a log line."""
        numbers = {name: float(v) for name, v in logs.items() if isinstance(v, int | float)}
        self.logs |= numbers
        self.generated += numbers.get("tokens/generated", 0.0) * (step - self.logged_step)
        self.logged_step = step
        self.warned = tuple(
            name.removeprefix("health/").replace("_", " ")
            for name, value in sorted(self.logs.items())
            if name.startswith("health/") and value > 0
        )
        for name in ("reward", "entropy"):
            if name in numbers:
                self.curves.setdefault(name, []).append(numbers[name])

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def seconds_per_step(self) -> float:
        return self.elapsed / max(self.step - self.first, 1)

    @property
    def left(self) -> float:
        """Seconds, if all steps take as long as those so far."""
        return self.seconds_per_step * (self.total - self.step)


def clock(seconds: float) -> str:
    """``1:02:03``, or ``2:03`` below an hour."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def live_view(name: str, progress: Progress, last: Mapping[str, Any] | None) -> RenderableType:
    """The whole view.

    Args:
        name: of the run.
        last: a row of ``rollouts/*.parquet``, shown token by token; None where rollouts are not recorded.
    """
    return Group(_head(name, progress), _numbers(progress), *_completion(last))


def _head(name: str, progress: Progress) -> Table:
    head = Table.grid(padding=(0, 1), expand=True)
    for ratio in (None, 1, None):
        head.add_column(ratio=ratio, no_wrap=True)
    begun = progress.step > progress.first
    left = f"{clock(progress.left)} left" if begun else "first step"
    head.add_row(
        Text(f"{name}  step {progress.step}/{progress.total}", style="bold"),
        ProgressBar(total=max(progress.total, 1), completed=progress.step),
        f"{clock(progress.elapsed)} elapsed, {left}",
    )
    return head


def _numbers(progress: Progress) -> Table:
    table = Table.grid(padding=(0, 2))
    for row in (
        _reward(progress),
        _entropy(progress),
        _lengths(progress.logs),
        _clipped(progress.logs),
        _speed(progress),
        ("warnings", Text(", ".join(progress.warned), style="bold red")),
    ):
        if row is not None and len(row[1]):
            table.add_row(Text(row[0], style="dim"), row[1])
    return table


def _reward(progress: Progress) -> tuple[str, Text]:
    held_out = {
        name: progress.logs[name]
        for name in progress.logs
        if name == "held_out/score" or (name.startswith("eval/") and name.endswith("/pass@1"))
    }
    parts = [f"{name.removesuffix('/score')} {value:.3f}" for name, value in held_out.items()]
    return "reward", _with_curve(progress, "reward", parts)


def _entropy(progress: Progress) -> tuple[str, Text]:
    parts = [
        f"{name.removeprefix('entropy_')} {value:.3f}"
        for metric, value in progress.logs.items()
        for name in [metric.rpartition("/")[2]]
        if name in ("entropy_kept", "entropy_dropped")
    ]
    return "entropy", _with_curve(progress, "entropy", ["nats", *reversed(parts)])


def _lengths(logs: Mapping[str, float]) -> tuple[str, Text] | None:
    mean = logs.get("completions/mean_length")
    if mean is None:
        return None
    parts = [f"mean {mean:.0f}", f"longest {logs.get('completions/max_length', mean):.0f}"]
    parts.append(f"cut off {logs.get('completions/clipped_ratio', 0.0):.1%}")
    return "length", Text("  ".join(parts))


def _clipped(logs: Mapping[str, float]) -> tuple[str, Text]:
    named = {
        "clip_ratio/low_mean": "low",
        "clip_ratio/high_mean": "high",
        "cispo_clip_ratio": "bounded",
    }
    parts = [f"{word} {logs[name]:.2%}" for name, word in named.items() if name in logs]
    return "clipped", Text("  ".join(parts))


def _speed(progress: Progress) -> tuple[str, Text] | None:
    if not progress.logged_step > progress.first:
        return None
    parts = [f"{progress.seconds_per_step:.2f} s/step"]
    if progress.generated:
        parts.append(f"{progress.generated / progress.elapsed:,.0f} generated tokens/s")
    times = {
        phase: progress.logs[f"time/{phase}"]
        for phase in ("rollout", "rewards", "update")
        if f"time/{phase}" in progress.logs
    }
    total = sum(times.values())
    parts += [f"{phase} {seconds / total:.0%}" for phase, seconds in times.items() if total > 0]
    return "speed", Text("  ".join(parts))


def _with_curve(progress: Progress, name: str, parts: Sequence[str]) -> Text:
    values = progress.curves.get(name, [])
    if not values:
        return Text()
    return Text("  ".join([f"{values[-1]:.3f}", sparkline(values), *parts]))


def sparkline(values: Sequence[float]) -> str:
    """The last values as blocks, from the lowest to the highest of them."""
    shown = [value for value in values[-CURVE_POINTS:] if value == value]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((value - low) * scale)] for value in shown)


def _completion(last: Mapping[str, Any] | None) -> list[RenderableType]:
    if last is None:
        return []
    title = f"last completion, reward {last['reward']:.3g}"
    return [Rule(title, style="dim", align="left"), shaded(last)]


def shaded(row: Mapping[str, Any]) -> Text:
    """A completion's tokens in the styles of ``SHADES``, those that learn underlined."""
    text = Text()
    tokens = zip(row["token"], row["entropy"], row["selected"], strict=True)
    for token, entropy, selected in list(tokens)[:LONGEST_COMPLETION]:
        style = next(style for bound, style in SHADES if not entropy >= bound)
        text.append(
            token.translate(_VISIBLE), style=f"{style} underline" if selected else style or None
        )
    if len(row["token"]) > LONGEST_COMPLETION:
        text.append(f" … {len(row['token']) - LONGEST_COMPLETION} more tokens", style="dim")
    return text
