"""Tokens that an early stop saved, counted by going on without it."""

from collections.abc import Sequence
from dataclasses import replace

from rlent.rollout import Completion, RolloutEngine, Tally
from rlent.rollout.decoding import ThinkJustEnough
from rlent.rollout.sequence import Start
from rlent.rollout.stops import STOPPED

SAVED = "saved_tokens"
"""Name of the tally: tokens that the completion is shorter, of those without the rule; negative where it is longer."""


def count_saved(
    engine: RolloutEngine,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Completion],
    *,
    seed: int,
    first: int,
) -> list[Completion]:
    """The completions with the tally, under a rule that stops early and is to be counted; the same under any other.

    What a stopped one would have been follows from the same random numbers, so it begins with the same tokens.
    """
    rule = engine.decoding
    if not isinstance(rule, ThinkJustEnough) or not rule.count_saved:
        return list(completions)
    starts = [
        Start(prompt=one.prompt, index=one.index, prompt_ids=tuple(prompts[one.prompt]))
        for one in completions
        if any(tally.name == STOPPED and tally.count for tally in one.tallies)
    ]
    whole = replace(engine, decoding=None).complete(starts, seed=seed, first=first)
    lengths = {(one.prompt, one.index): len(one.token_ids) for one in whole.completions}
    counted = []
    for one in completions:
        kept = len(one.token_ids)
        full = lengths.get((one.prompt, one.index), kept)
        tally = Tally(name=SAVED, count=full - kept, of=full)
        counted.append(replace(one, tallies=(*one.tallies, tally)))
    return counted
