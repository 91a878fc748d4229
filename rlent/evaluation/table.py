"""Results as lines of text."""

from collections.abc import Sequence

from rlent.evaluation.difficulty_costs import DifficultyCosts
from rlent.evaluation.results import SetResult

_HEAD = ("set", "problems", "metric", "value", "95% interval")


def result_table(results: Sequence[SetResult]) -> str:
    """A line per metric of every set, then a line per kind of completion about its texts."""
    rows = [_HEAD, *(row for each in results for row in _metrics(each))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join([*(line.rstrip() for line in lines), "", *_texts(results)])


def _metrics(result: SetResult) -> list[tuple[str, ...]]:
    counted = len(result.problems) - result.unscored
    return [
        (
            result.name,
            str(counted),
            name,
            f"{value:.4f}",
            "{0.low:.4f} to {0.high:.4f}".format(result.interval(name)),
        )
        for name, value in result.metrics.items()
    ]


def _texts(results: Sequence[SetResult]) -> list[str]:
    lines = []
    for result in results:
        for kind, texts in result.texts.items():
            lines.append(
                f"{result.name}, {kind}: {texts.length:.1f} tokens (median {texts.length_median:g}, "
                f"longest {texts.length_max}), {texts.truncated:.1%} cut off, {texts.entropy:.4f} nats"
            )
            if texts.tallies:
                shares = ", ".join(f"{name} {share:.1%}" for name, share in texts.tallies.items())
                lines.append(f"{result.name}, {kind}: {shares}")
        if result.difficulty is not None:
            lines += _difficulty(result.name, result.difficulty)
        if result.unscored:
            lines.append(
                f"{result.name}: {result.unscored} of {len(result.problems)} problems are in no metric, "
                "because the reward did not score them"
            )
    return lines


def _difficulty(name: str, costs: DifficultyCosts) -> list[str]:
    counts = ", ".join(f"{count} {label}" for label, count in costs.problems.items())
    return [
        f"{name}, problems: {counts}",
        *(
            f"{name}, {kind}: {tokens.spent} tokens, {tokens.of_plain_limit:.1%} of the plain limit, "
            f"of which {tokens.allowed:.1%} are allowed"
            for kind, tokens in costs.tokens.items()
        ),
    ]
