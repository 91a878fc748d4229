"""What the logged metrics say of a run's health: rules, each with its remedy.

A rule looks at the lines that a run has logged so far, whatever wrote them, and knows nothing of models and trainers.
It compares the last ``WINDOW`` values of a metric with the first ``WINDOW``, and says nothing before there are as many.
The bounds are rules of thumb: no paper is behind them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from statistics import StatisticsError, correlation, fmean
from typing import Any

History = Sequence[Mapping[str, Any]]
"""Logged lines, oldest first."""

PREFIX = "health/"
"""Of the metrics: ``health/<rule>`` is 1 while the rule warns, else 0."""
WINDOW = 5
TREND = 20
"""Values over which reward and length are correlated."""

COLLAPSED = 0.2
"""Share of the first entropy."""
EXPLODED, EXPLODED_BY = 3.0, 0.5
"""Multiple of the first entropy, and nats above it."""
ALL_EQUAL = 0.9
"""Share of groups without variance."""
TRUNCATED = 0.5
"""Share of completions."""
CLIPPED = 0.2
"""Share of tokens."""
ENGINES_DIFFER = 0.1
"""Nats between the generating program's log-probability of a token and the trainer's."""
LENGTH_FACTOR = 1.5
CORRELATED = 0.7
SELECTING = ("*/kept_share", "*/selected", "*/dropped")
"""Metrics that are the share of tokens which an intervention has chosen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """``problem`` says in numbers what is wrong, or None."""

    name: str
    problem: Callable[[History], str | None]
    remedy: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Warned:
    """A rule that warns, and the words for it."""

    name: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name.replace('_', ' ')}: {self.problem}\n  change: {self.remedy}"


def warnings(history: History) -> list[Warned]:
    """The rules that warn now."""
    return [
        Warned(name=rule.name, problem=problem, remedy=rule.remedy)
        for rule in RULES
        if (problem := rule.problem(history)) is not None
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstWarning:
    """When a rule first warned in a finished run."""

    step: int
    rule: str
    problem: str
    remedy: str


def first_warnings(history: History) -> list[FirstWarning]:
    """The rules that have warned according to the logged ``health/<rule>``, by the step at which each first did."""
    found = []
    for rule in RULES:
        metric = PREFIX + rule.name
        first = next((i for i, row in enumerate(history) if row.get(metric)), None)
        if first is not None:
            problem = rule.problem(history[: first + 1]) or "its numbers are not among the metrics"
            step = int(history[first]["step"])
            words = rule.name.replace("_", " ")
            found.append(FirstWarning(step=step, rule=words, problem=problem, remedy=rule.remedy))
    return sorted(found, key=lambda warning: warning.step)


def health_metrics(warned: Sequence[Warned]) -> dict[str, float]:
    """``health/<rule>`` of every rule."""
    names = {each.name for each in warned}
    return {f"{PREFIX}{rule.name}": float(rule.name in names) for rule in RULES}


def _values(history: History, metric: str) -> list[float]:
    return [float(row[metric]) for row in history if row.get(metric) is not None]


def _then_and_now(history: History, metric: str) -> tuple[float, float] | None:
    """Means of the first and of the last values; None before there are enough for both."""
    values = _values(history, metric)
    if len(values) < 2 * WINDOW:
        return None
    return fmean(values[:WINDOW]), fmean(values[-WINDOW:])


def _now(history: History, metric: str) -> float | None:
    values = _values(history, metric)
    return fmean(values[-WINDOW:]) if len(values) >= WINDOW else None


def _entropy_collapse(history: History) -> str | None:
    match _then_and_now(history, "entropy"):
        case (then, now) if now < COLLAPSED * then:
            return f"the mean entropy fell from {then:.3g} to {now:.3g} nats"
    return None


def _entropy_explosion(history: History) -> str | None:
    match _then_and_now(history, "entropy"):
        case (then, now) if now > max(EXPLODED * then, then + EXPLODED_BY):
            return f"the mean entropy rose from {then:.3g} to {now:.3g} nats"
    return None


def _equal_rewards(history: History) -> str | None:
    share = _now(history, "frac_reward_zero_std")
    if share is None or share < ALL_EQUAL:
        return None
    return f"in {share:.0%} of the groups all rewards are equal, and nothing is learnt from them"


def _truncation(history: History) -> str | None:
    share = _now(history, "completions/clipped_ratio")
    if share is None or share < TRUNCATED:
        return None
    return f"{share:.0%} of the completions are cut off at the length limit"


def _importance_ratios(history: History) -> str | None:
    for metric in ("clip_ratio/region_mean", "cispo_clip_ratio"):
        share = _now(history, metric)
        if share is not None and share > CLIPPED:
            return f"the ratio of {share:.0%} of the tokens is clipped"
    apart = _now(history, "sampling/sampling_logp_difference/mean")
    if apart is not None and apart > ENGINES_DIFFER:
        return (
            f"the log-probabilities of the generating program and of the trainer differ by {apart:.2g} nats per "
            "token, although they are the same policy's"
        )
    return None


def _selection(history: History) -> str | None:
    names = dict.fromkeys(name for row in history[-WINDOW:] for name in row)
    for name in (name for name in names if any(fnmatch(name, each) for each in SELECTING)):
        last = _values(history, name)[-WINDOW:]
        if len(last) == WINDOW and (set(last) == {0.0} or set(last) == {1.0}):
            return f"{name.partition('/')[0]} chooses {'every' if last[0] else 'no'} token ({name})"
    return None


def _length_hacking(history: History) -> str | None:
    length = _then_and_now(history, "completions/mean_length")
    if length is None or 1 / LENGTH_FACTOR < length[1] / max(length[0], 1e-9) < LENGTH_FACTOR:
        return None
    together = _correlation(history, "reward", "completions/mean_length")
    held_out = _values(history, "held_out/score")
    better = len(held_out) > 1 and held_out[-1] > held_out[0]
    if together is None or abs(together) < CORRELATED or better:
        return None
    seen = "the held-out score has not risen" if held_out else "no held-out score says it is not so"
    return (
        f"the reward follows the length of the completions (correlation {together:.2f}), which went from "
        f"{length[0]:.0f} to {length[1]:.0f} tokens, and {seen}"
    )


def _correlation(history: History, one: str, other: str) -> float | None:
    pairs = [
        (float(row[one]), float(row[other]))
        for row in history
        if row.get(one) is not None and row.get(other) is not None
    ][-TREND:]
    if len(pairs) < 2 * WINDOW:
        return None
    try:
        return correlation(*zip(*pairs, strict=True))
    except StatisticsError:  # one of them has not changed at all
        return None


RULES = (
    Rule(
        name="entropy_collapse",
        problem=_entropy_collapse,
        remedy="lower trainer.learning_rate, train on forking_tokens alone, keep gradient outside the clip range "
        "(clip_preserve, clip_higher), or add an entropy_bonus or adaptive_entropy",
    ),
    Rule(
        name="entropy_explosion",
        problem=_entropy_explosion,
        remedy="lower trainer.learning_rate, lower the weight of an entropy bonus, raise trainer.beta, or bound the "
        "entropy with entropy_band",
    ),
    Rule(
        name="equal_rewards",
        problem=_equal_rewards,
        remedy="use easier or harder problems, more trainer.num_generations, dynamic_sampling: {zero_variance: "
        "resample}, or look whether the reward reads the answers at all (rlent report, rlent data)",
    ),
    Rule(
        name="truncation",
        problem=_truncation,
        remedy="raise trainer.max_completion_length, ask for shorter answers, or add the reward overlong",
    ),
    Rule(
        name="importance_ratios",
        problem=_importance_ratios,
        remedy="take fewer updates per generation batch (trainer.num_iterations, trainer.steps_per_generation) or a "
        "lower trainer.learning_rate; with vLLM, give both programs the same precision",
    ),
    Rule(
        name="selection",
        problem=_selection,
        remedy="change the intervention's share, threshold or scope; try others on the saved rollouts with "
        "rlent replay",
    ),
    Rule(
        name="length_hacking",
        problem=_length_hacking,
        remedy="read the completions (rlent report), make the reward indifferent to length or add target_length, and "
        "hold problems out (evaluation.problems)",
    ),
)
