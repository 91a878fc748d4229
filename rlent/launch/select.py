"""``rlent select``: the problems of an evaluated set that a model is least sure to solve, as rows to train on."""

import json
from pathlib import Path

from rlent.errors import ConfigError
from rlent.evaluation import by_pass_variance
from rlent.evaluation.store import read_set


def select(folder: Path, top: int, output: Path) -> int:
    """Write the ``top`` problems whose drawn completions vary most in being correct, one JSON row a line.

    Raises:
        ConfigError: the folder is not that of an evaluated set with drawn completions, holds fewer problems than asked
            for, or the file exists.
    """
    if top < 1:
        raise ConfigError("at least one row is written", key="--top", given=top)
    if output.exists():
        raise ConfigError("the file exists", key="--output", given=str(output))
    ranked = by_pass_variance(read_set(folder))
    if len(ranked) < top:
        raise ConfigError(
            "the set holds fewer problems with drawn completions that are all scored",
            key="--top",
            expected=f"at most {len(ranked)}",
            given=top,
            remedy="evaluate with --samples K first, or ask for fewer",
        )
    chosen = ranked[:top]
    lines = [json.dumps(each.row(), ensure_ascii=False) for each in chosen]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for each in chosen:
        print(
            f"problem {each.problem}: {each.correct} of {each.samples} correct, variance {each.pass_variance:.4f}"
        )
    print(f"Wrote {top} of {len(ranked)} problems to {output}")
    return 0
