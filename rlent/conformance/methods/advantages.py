"""Interventions that make rewards or advantages."""

from dataclasses import replace

import torch

from rlent.conformance.cases import Case
from rlent.conformance.methods.method import FLOAT64, Method, Outputs
from rlent.conformance.methods.verl import only, verl_ppo, verl_signal
from rlent.conformance.records import rollouts_of, tokens_of
from rlent.interventions import AdvantageReweighting, EntropyAdvantage, WReinforce
from rlent.numerics import fill
from rlent_rewards import VoteRule, majority_vote


def ttrl_vote(case: Case) -> Outputs:
    vote = majority_vote(case.inputs["solutions"], VoteRule(count="text", unparsed="vote"))
    count = round(vote.share * len(vote.rewards))
    return {
        "rewards": torch.tensor(vote.rewards),
        "majority_count": torch.tensor(count),
        "label": "" if vote.winner is None else vote.winner,
    }


def ar_lopti(case: Case) -> Outputs:
    tokens = tokens_of(case)
    signal = verl_signal(case, tokens)
    config = AdvantageReweighting(alpha=case.hyperparameters["alpha"])
    advantage, _ = config.on_advantages(rollouts_of(tokens), signal.advantage)
    outputs = verl_ppo(case, tokens, replace(signal, advantage=advantage))
    return {"reweighted_advantages": advantage, **only(outputs, "loss", "grad_logp")}


def w_reinforce(case: Case) -> Outputs:
    scores = case.inputs["scores"]
    nothing = torch.zeros_like(scores)
    tokens = tokens_of(replace(case, inputs={**case.inputs, "logp": nothing, "old_logp": nothing}))
    rollouts = replace(rollouts_of(tokens), reward=scores.sum(1))
    halves = {
        "advantages_positive": WReinforce(positive=1.0, negative=0.0),
        "advantages_negative": WReinforce(positive=0.0, negative=1.0),
        "advantages_weighted": WReinforce(positive=case.hyperparameters["lam"]),
    }
    return {
        name: fill(config.on_advantages(rollouts, nothing)[0], tokens.mask)
        for name, config in halves.items()
    }


def entropy_advantage(case: Case) -> Outputs:
    given = case.hyperparameters
    config = EntropyAdvantage(alpha=given["adv_alpha"], kappa=float(given["kappa"]))
    tokens = tokens_of(case, entropy=case.inputs["entropy"])
    signal, _ = config.on_tokens(tokens, verl_signal(case, tokens))
    outputs = verl_ppo(case, tokens, signal)
    return {"shaped_advantages": signal.advantage, **only(outputs, "loss", "grad_logp")}


ADVANTAGE_METHODS: dict[str, Method] = {
    "ttrl_vote": Method(outputs=ttrl_vote, tolerance=0.0),
    "ar_lopti": Method(
        outputs=ar_lopti, tolerance=FLOAT64, remark="the reweighting; Lopti's two updates are not"
    ),
    "w_reinforce": Method(outputs=w_reinforce, tolerance=FLOAT64),
    "entropy_advantage": Method(outputs=entropy_advantage),
}
