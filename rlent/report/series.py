"""Metrics over steps: mean and range over the seeds of a configuration, and the panels they are shown in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from rlent.report.runs import Run
from rlent.report.studies import curve_of, over_seeds


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """``metrics`` holds names or patterns of metrics, each with the words it is shown under; None keeps its name."""

    section: str
    title: str
    unit: str
    metrics: tuple[tuple[str, str | None], ...]


PANELS = (
    Panel(
        section="curves",
        title="Reward",
        unit="reward",
        metrics=(("reward", "training"), ("held_out/score", "held out, greedy")),
    ),
    Panel(
        section="curves",
        title="Entropy",
        unit="nats",
        metrics=(
            ("*/entropy_kept", "kept tokens"),
            ("entropy", "all tokens"),
            ("*/entropy_dropped", "dropped tokens"),
        ),
    ),
    Panel(
        section="curves",
        title="Clipped tokens",
        unit="share of tokens",
        metrics=(
            ("clip_ratio/low_mean", "below"),
            ("clip_ratio/high_mean", "above"),
            ("cispo_clip_ratio", "cut"),
        ),
    ),
    Panel(
        section="curves",
        title="Divergence from the reference policy",
        unit="nats",
        metrics=(("kl", "KL divergence"),),
    ),
    Panel(
        section="curves",
        title="First-order change of entropy",
        unit="nats per unit of step size",
        metrics=(("effect/entropy", "mean over tokens"),),
    ),
    Panel(
        section="curves",
        title="Push on the log-probability",
        unit="mean absolute push",
        metrics=(("effect/push", "mean over tokens"),),
    ),
    Panel(
        section="rewards",
        title="Mean of each part",
        unit="reward",
        metrics=(("rewards/*/mean", None),),
    ),
    Panel(
        section="rewards",
        title="Spread of each part",
        unit="standard deviation",
        metrics=(("rewards/*/std", None),),
    ),
    Panel(
        section="rewards",
        title="Groups whose rewards are all equal",
        unit="share of groups",
        metrics=(("frac_reward_zero_std", "without variance"),),
    ),
    Panel(
        section="lengths",
        title="Completion length",
        unit="tokens",
        metrics=(
            ("completions/max_length", "longest"),
            ("completions/mean_length", "mean"),
            ("completions/min_length", "shortest"),
        ),
    ),
    Panel(
        section="lengths",
        title="Completions cut off at the length limit",
        unit="share of completions",
        metrics=(("completions/clipped_ratio", "cut off"),),
    ),
    Panel(
        section="time",
        title="Time",
        unit="seconds per step",
        metrics=(("step_time", "whole step"), ("time/*", None)),
    ),
    Panel(
        section="time",
        title="Tokens seen since the start",
        unit="tokens",
        metrics=(("num_tokens", "prompts and completions"),),
    ),
    Panel(
        section="time",
        title="Tokens",
        unit="tokens per step",
        metrics=(("tokens/*", None),),
    ),
    Panel(
        section="time",
        title="Work that was not done",
        unit="share",
        metrics=(("saved/*", None),),
    ),
)
"""Every metric of a pattern is drawn; a panel that matches nothing is left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """A metric over the steps that every seed has logged: mean, lowest and highest over the seeds."""

    configuration: str
    seeds: int
    steps: list[int]
    low: list[float]
    mean: list[float]
    high: list[float]


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundPanel:
    """A panel with the metrics that the runs have, by name, and the words they are shown under."""

    section: str
    title: str
    unit: str
    metrics: dict[str, str]


def bands(together: Mapping[str, Sequence[Run]]) -> dict[str, list[Band]]:
    """Every metric's band for each configuration that logs it."""
    names = {
        name: None
        for runs in together.values()
        for run in runs
        for row in run.metrics
        for name in row
    }
    return {
        name: found
        for name in sorted(set(names) - {"step", "epoch"})
        if (found := [band for key, runs in together.items() if (band := _band(key, runs, name))])
    }


def _band(configuration: str, runs: Sequence[Run], metric: str) -> Band | None:
    curves = [curve for run in runs if (curve := curve_of(run.metrics, metric))]
    steps, low, mean, high = over_seeds(curves)
    if not steps:
        return None
    return Band(
        configuration=configuration,
        seeds=len(curves),
        steps=steps,
        low=low,
        mean=mean,
        high=high,
    )


def found_panels(names: Sequence[str]) -> list[FoundPanel]:
    """The panels that have at least one of these metrics."""
    found = [
        FoundPanel(
            section=panel.section,
            title=panel.title,
            unit=panel.unit,
            metrics=_matching(panel, names),
        )
        for panel in PANELS
    ]
    return [panel for panel in found if panel.metrics]


def _matching(panel: Panel, names: Sequence[str]) -> dict[str, str]:
    return {
        name: name if words is None or _several(pattern, names) else words
        for pattern, words in panel.metrics
        for name in names
        if fnmatch(name, pattern)
    }


def _several(pattern: str, names: Sequence[str]) -> bool:
    return sum(fnmatch(name, pattern) for name in names) > 1
