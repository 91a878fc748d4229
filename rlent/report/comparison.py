"""Configurations with several seeds each, beside one another: a table, the numbers of every run, and a figure."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from rlent.report.plots import HEIGHT, STYLE, WIDTH
from rlent.report.statistics import Difference, Estimate, difference, estimate
from rlent.report.studies import Curve, curve_of, over_seeds
from rlent.tracking import read_metrics

LATE = 0.1
"""A run's final value is the mean over this last share of its steps."""
ENTROPY, LENGTH = "entropy", "completions/mean_length"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A finished run in numbers; None where it has not logged them."""

    recipe: str
    seed: int
    final: float
    """Mean score over the last tenth of the steps."""
    area: float
    """Mean height of the score's curve over the steps: the area under it, divided by its width."""
    entropy: float | None
    """Nats, over the last tenth of the steps."""
    length: float | None
    """Tokens of a completion, over the last tenth of the steps."""
    seconds: float | None
    """Sum over the steps."""
    tokens: float | None
    """Prompts and completions, over the whole run."""


Outcomes = Mapping[str, Sequence[Outcome]]
"""By recipe; the first one is what the others are compared with. Seeds in the same order everywhere."""


def outcome_of(metrics: Path, recipe: str, seed: int, score: str) -> Outcome | None:
    """A run's numbers from its ``metrics.jsonl``; None if it has never logged ``score``."""
    rows = list(read_metrics(metrics))
    curve = curve_of(rows, score)
    if not curve:
        return None
    seconds, tokens = curve_of(rows, "step_time"), curve_of(rows, "num_tokens")
    return Outcome(
        recipe=recipe,
        seed=seed,
        final=late_mean(curve),
        area=mean_height(curve),
        entropy=_late(rows, ENTROPY),
        length=_late(rows, LENGTH),
        seconds=sum(seconds.values()) if seconds else None,
        tokens=tokens[max(tokens)] if tokens else None,
    )


def late_mean(curve: Curve) -> float:
    """Mean over the last ``LATE`` of the steps, the last value at least."""
    first, last = min(curve), max(curve)
    late = [value for step, value in curve.items() if step >= last - LATE * (last - first)]
    return sum(late) / len(late)


def mean_height(curve: Curve) -> float:
    """``sum (y_i + y_{i+1}) / 2 (x_{i+1} - x_i) / (x_n - x_1)``; the value itself where there is one."""
    steps = sorted(curve)
    if len(steps) == 1:
        return curve[steps[0]]
    pairs = pairwise(steps)
    area = sum((curve[a] + curve[b]) / 2 * (b - a) for a, b in pairs)
    return area / (steps[-1] - steps[0])


def _late(rows: Sequence[Mapping[str, Any]], metric: str) -> float | None:
    curve = curve_of(rows, metric)
    return late_mean(curve) if curve else None


def markdown(outcomes: Outcomes, score: str) -> str:
    """Two tables: the configurations, and their differences from the first; then what the differences show."""
    first, *others = outcomes
    seeds = len(outcomes[first])
    lines = [
        f"Score: `{score}`, seeds: {seeds}. In brackets: 95% intervals over seeds (Student's t).",
        "",
        "| recipe | final score | area under the curve | entropy, nats | tokens per completion | minutes | tokens |",
        "|---|---|---|---:|---:|---:|---:|",
        *(_row(name, runs) for name, runs in outcomes.items()),
    ]
    if not others:
        return "\n".join(lines) + "\n"
    lines += [
        "",
        f"| difference from {first} | final score | p (paired t) | p (signs) "
        "| area under the curve | p (paired t) | p (signs) |",
        "|---|---|---:|---:|---|---:|---:|",
    ]
    said = []
    for name in others:
        final, area = (_against(outcomes, name, value) for value in ("final", "area"))
        lines.append(f"| {name} | {_tested(final)} | {_tested(area)} |")
        said += [
            _sentence(name, first, "final score", final),
            _sentence(name, first, "area under the curve", area),
        ]
    return "\n".join([*lines, "", *(f"- {sentence}" for sentence in said)]) + "\n"


def _row(name: str, runs: Sequence[Outcome]) -> str:
    seconds = _known(runs, "seconds")
    cells = [
        _interval(estimate([run.final for run in runs])),
        _interval(estimate([run.area for run in runs])),
        _mean(_known(runs, "entropy"), ".3f"),
        _mean(_known(runs, "length"), ".1f"),
        _mean([value / 60 for value in seconds], ".1f"),
        _mean(_known(runs, "tokens"), ",.0f"),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def _known(runs: Sequence[Outcome], field: str) -> list[float]:
    return [value for run in runs if (value := getattr(run, field)) is not None]


def _mean(values: Sequence[float], form: str) -> str:
    return format(sum(values) / len(values), form) if values else ""


def _against(outcomes: Outcomes, name: str, field: str) -> Difference:
    theirs = outcomes[next(iter(outcomes))]
    return difference(
        [getattr(run, field) for run in outcomes[name]], [getattr(run, field) for run in theirs]
    )


def _interval(value: Estimate) -> str:
    if value.low is None:
        return f"{value.mean:.4f}"
    return f"{value.mean:.4f} [{value.low:.4f}, {value.high:.4f}]"


def _tested(value: Difference) -> str:
    tests = (value.t_test, value.sign_flips)
    return " | ".join(
        [_interval(value.estimate), *("" if p is None else f"{p:.3g}" for p in tests)]
    )


def _sentence(name: str, first: str, what: str, found: Difference) -> str:
    if found.estimate.low is None:
        return f"One seed says nothing of the difference in {what} between {name} and {first}."
    if not found.shown:
        return f"No difference in {what} between {name} and {first} is shown: the interval holds 0."
    word = "above" if found.estimate.mean > 0 else "below"
    return f"{what.capitalize()}: {name} is {word} {first}, by {_interval(found.estimate)}."


def table(outcomes: Outcomes) -> str:
    """Every run as a line of CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Outcome)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(run) for runs in outcomes.values() for run in runs)
    return text.getvalue()


def draw(
    outcomes: Outcomes, curves: Mapping[str, Sequence[Curve]], score: str, picture: Path
) -> None:
    """The score over steps, mean and range of the seeds, and the final scores with their intervals."""
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(2 * WIDTH, HEIGHT), layout="constrained")
        over_steps, finals = figure.subplots(1, 2)
        for place, (name, seeds) in enumerate(curves.items()):
            steps, low, mean, high = over_seeds(seeds)
            (line,) = over_steps.plot(steps, mean, label=name)
            over_steps.fill_between(steps, low, high, color=line.get_color(), alpha=0.15)
            final = estimate([run.final for run in outcomes[name]])
            reach = 0.0 if final.high is None else final.high - final.mean
            finals.errorbar(
                [place], [final.mean], yerr=[reach], fmt="o", capsize=3, color=line.get_color()
            )
        over_steps.set(xlabel="step", ylabel=score)
        over_steps.legend()
        finals.set(ylabel="final score, 95% interval", xlim=(-0.5, len(curves) - 0.5))
        finals.set_xticks(range(len(curves)), list(curves))
        figure.savefig(picture)
