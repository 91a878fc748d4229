"""What the engine's notes of a generation batch say, without another pass of the model."""

from collections.abc import Sequence
from itertools import groupby

from rlent.interventions.stages import Mean, Metrics
from rlent.rollout import Generation
from rlent.rollout.branching_factor import branching_factor


def branching_metrics(generation: Generation, prompts: Sequence[list[int]]) -> Metrics:
    """Mean branching factor of this rank's prompts; rows of one prompt follow each other."""
    pairs = zip(prompts, generation.completions, strict=True)
    factors = [
        branching_factor([one.log_probs for one in group], [one.entropies for one in group])
        for group in (
            [one for _, one in rows] for _, rows in groupby(pairs, key=lambda pair: pair[0])
        )
    ]
    return {"rollout/branching_factor": Mean(sum(factors), len(factors))}


def fork_metrics(generation: Generation) -> Metrics:
    """Share of completions that are forks, and of all tokens those that a fork shares with its parent."""
    steps = [one.branch_step for one in generation.completions]
    tokens = sum(len(one.token_ids) for one in generation.completions)
    return {
        "branching/forks": Mean(sum(step is not None for step in steps), len(steps)),
        "branching/shared_tokens": Mean(sum(step or 0 for step in steps), tokens),
    }
