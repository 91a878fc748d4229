"""rlent's benchmarks: rlent and its peers on the same work, interleaved, medians, outputs compared.

python scripts/bench.py kernels --help
"""

import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.benchmarks import chain, kernels, rewards, rollout, steps

BENCHMARKS = {
    "kernels": kernels.main,
    "chain": chain.main,
    "rewards": rewards.main,
    "rollout": rollout.main,
    "train": functools.partial(steps.main, "train"),
    "step": functools.partial(steps.main, "step"),
}


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in BENCHMARKS:
        print(__doc__.strip() + "\n\nbenchmarks: " + ", ".join(BENCHMARKS))
        sys.exit(0 if sys.argv[1:] in (["--help"], ["-h"]) else 2)
    BENCHMARKS[sys.argv[1]](sys.argv[2:])


if __name__ == "__main__":
    main()
