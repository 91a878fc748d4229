"""Interventions that make rewards or advantages."""

from dataclasses import replace
from typing import get_args

import torch

from rlent.conformance.cases import Case
from rlent.conformance.methods.method import FLOAT64, Method, Outputs
from rlent.conformance.methods.verl import only, verl_ppo, verl_signal
from rlent.conformance.records import rollouts_of, tokens_of
from rlent.interventions import (
    BRPO,
    HAPO,
    AdvantageReweighting,
    DCPOAdvantage,
    EntropyAdvantage,
    HAPOAdvantage,
    Lopti,
    WReinforce,
)
from rlent.interventions.brpo import Baseline, budget_prior, thinking_advantages
from rlent.interventions.dcpo_advantage import fingerprint
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
    signal = replace(signal, advantage=advantage)
    together = only(verl_ppo(case, tokens, signal), "loss", "grad_logp")
    outputs = {"reweighted_advantages": advantage, **together}
    lopti = Lopti(threshold=case.hyperparameters["eta"])
    for iteration, name in enumerate(("first", "second")):
        # The cases have both updates at the same weights.
        parted, _ = lopti.on_tokens(replace(tokens, iteration=iteration), signal)
        update = verl_ppo(case, tokens, parted)
        outputs |= {f"loss_{name}_update": update["loss"], f"grad_{name}": update["grad_logp"]}
    return outputs


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


BASELINES: dict[str, Baseline] = {
    "brpo": "both",
    "v1only": "own",
    "v2only": "group",
    "none": "none",
}
"""rlent's names for ``variance_reduction``."""


def brpo(case: Case) -> Outputs:
    given, scores = case.hyperparameters, case.inputs["summary_scores"]
    budgets, summaries, generations = given["S"], given["A"], given["G"]
    levels = [given["max_gen_len"] // budgets * (number + 1) for number in range(budgets)]
    shape = (-1, generations, budgets, summaries)
    config = BRPO(prior=given["budget"], summaries="each" if given["sm"] == "brpo" else "last")
    prior = budget_prior(levels, config.prior)
    score, reached = scores.view(shape), case.inputs["split_id"].view(shape)
    means = score.mean(3)
    thinking = {name: thinking_advantages(means, prior, name) for name in get_args(Baseline)}
    outputs = {
        "cot_advantage": thinking[BASELINES[given["vr"]]],
        "summary_advantage": config.of_summaries(score, reached).flatten(2),
        "returns": thinking["none"],
        "v1": thinking["none"] - thinking["own"],
        "v2": thinking["none"] - thinking["group"],
    }
    return {"budget_probs": prior, **{name: each.flatten(0, 1) for name, each in outputs.items()}}


def hapo(case: Case) -> Outputs:
    given = case.hyperparameters
    config = HAPO(
        pivot=given["pivot"],
        clip=given["clip_alpha"] if given["adaptive_clip"] else 0.0,
        advantage=given["adv_beta"] if given["adaptive_advantage"] else 0.0,
        as_released=True,
    )
    tokens = tokens_of(case, entropy=case.inputs["entropy"])
    signal, _ = config.on_tokens(tokens, verl_signal(case, tokens))
    outputs = verl_ppo(case, tokens, signal)
    # The shaped advantages of a case are recorded even where its loss does not use them.
    shaped = {"shaped_advantages": signal.advantage} if given["adaptive_advantage"] else {}
    return {**shaped, **only(outputs, "loss", "per_token_loss", "grad_logp")}


def hapo_advantage(case: Case) -> Outputs:
    rewards = case.inputs["token_level_rewards"]
    nothing = torch.zeros_like(rewards)
    tokens = tokens_of(replace(case, inputs={**case.inputs, "logp": nothing, "old_logp": nothing}))
    tokens = replace(tokens, group=case.inputs["index"])
    rollouts = replace(rollouts_of(tokens), reward=rewards.sum(1))
    scale = "group" if case.hyperparameters["norm_adv_by_std_in_grpo"] else "none"
    advantage, _ = HAPOAdvantage(scale=scale).on_advantages(rollouts, nothing)
    return {"advantages": advantage}


def dcpo_advantage(case: Case) -> Outputs:
    given, rewards = case.inputs, case.inputs["token_level_rewards"]
    nothing = torch.zeros_like(rewards)
    tokens = tokens_of(replace(case, inputs={**given, "logp": nothing, "old_logp": nothing}))
    tokens = replace(tokens, group=given["index"])
    prompts = given["index"].unsqueeze(1)
    rollouts = replace(
        rollouts_of(tokens),
        reward=rewards.sum(1),
        prompt_ids=prompts,
        prompt_mask=torch.ones_like(prompts, dtype=torch.bool),
    )
    scale = "group" if case.hyperparameters["norm_adv_by_std_in_grpo"] else "none"
    stages = DCPOAdvantage(scale=scale).build()
    history = zip(
        given["index"], given["old_times"], given["old_mean"], given["old_std"], strict=True
    )
    before = {
        fingerprint([int(prompt)]): [int(times), float(mean), float(std)]
        for prompt, times, mean, std in history
    }
    stages.load_state_dict({"prompts": before})
    advantage, _ = stages.on_advantages(rollouts, nothing)
    after = stages.state_dict()["prompts"]
    running = torch.tensor(
        [after[fingerprint([prompt])][1:] for prompt in given["index"].unique().tolist()],
        dtype=torch.float64,
    )
    return {
        "advantages": advantage,
        "new_running_mean": running[:, 0],
        "new_running_std": running[:, 1],
    }


ADVANTAGE_METHODS: dict[str, Method] = {
    "ttrl_vote": Method(outputs=ttrl_vote, tolerance=0.0),
    "ar_lopti": Method(outputs=ar_lopti, tolerance=FLOAT64),
    "brpo": Method(outputs=brpo, tolerance=FLOAT64, remark="the advantages; the token tree is not"),
    "w_reinforce": Method(outputs=w_reinforce, tolerance=FLOAT64),
    "entropy_advantage": Method(outputs=entropy_advantage),
    "hapo": Method(outputs=hapo, remark="training; the temperature while sampling is not"),
    "dcpo_advantage": Method(outputs=dcpo_advantage, tolerance=FLOAT64),
    "hapo_advantage": Method(
        outputs=hapo_advantage,
        tolerance=FLOAT64,
        remark="under the mask, beyond which the code leaves values",
    ),
}
