"""Interventions that make rewards or advantages."""

import torch

from rlent.conformance.cases import Case
from rlent.conformance.methods.method import Method, Outputs
from rlent_rewards import VoteRule, majority_vote


def ttrl_vote(case: Case) -> Outputs:
    vote = majority_vote(case.inputs["solutions"], VoteRule(count="text", unparsed="vote"))
    count = round(vote.share * len(vote.rewards))
    return {
        "rewards": torch.tensor(vote.rewards),
        "majority_count": torch.tensor(count),
        "label": "" if vote.winner is None else vote.winner,
    }


REWARD_METHODS: dict[str, Method] = {
    "ttrl_vote": Method(outputs=ttrl_vote, tolerance=0.0),
}
