"""Short names of paths."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path


def shortest_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of distinct paths that tell them apart, with dashes for slashes."""
    whole = [path.resolve() for path in paths]
    depth = next(d for d in count(1) if len({path.parts[-d:] for path in whole}) == len(whole))
    return ["-".join(path.parts[-depth:]) for path in whole]
