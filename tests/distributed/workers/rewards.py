"""Every reward on this rank's share of the rows: folder of the results."""

import json
import sys
from pathlib import Path
from typing import Any

import torch.distributed as dist

from rlent_rewards import REWARDS, MathAnswer, VoteRule, majority_vote
from tests.rewards.answer_pairs import DOCUMENTED, PAIRS
from tests.rewards.examples import make
from tests.rewards.hostile import by_hand
from tests.rewards.test_laws import COMPLETIONS, columns

dist.init_process_group("gloo")
rank, ranks = dist.get_rank(), dist.get_world_size()
entries = [*DOCUMENTED, *(entry for group in PAIRS.values() for entry in group)]
pairs = [(entry.answer, entry.reference) for entry in entries]
pairs += [(answer, "5") for answer in by_hand("/nowhere") if len(answer) < 1000]


def scores(reward: Any, texts: list[str], given: dict[str, list[Any]]) -> list[float]:
    """The rewards of every ``ranks``-th row."""
    mine = {name: values and values[rank::ranks] for name, values in given.items()}
    return reward(completions=texts[rank::ranks], **mine)


found = {name: scores(make(name), COMPLETIONS, columns(COMPLETIONS)) for name in REWARDS}
found["answers"] = scores(
    # Two ranks with workers of their own share a machine that may do something else as well.
    MathAnswer(timeout=30.0),
    [f"\\boxed{{{answer}}}" for answer, _ in pairs],
    {"answer": [reference for _, reference in pairs]},
)
groups = [[f"\\boxed{{{answer}}}" for answer, _ in pairs[at : at + 8]] for at in range(0, 160, 8)]
votes = [majority_vote(group, VoteRule()) for group in groups[rank::ranks]]
found["votes"] = [list(vote.rewards) for vote in votes]
Path(sys.argv[1], f"rank-{rank}.json").write_text(json.dumps(found))
dist.destroy_process_group()
