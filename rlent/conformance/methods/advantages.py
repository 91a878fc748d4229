"""Interventions that make rewards or advantages."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import get_args

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from rlent.aggregate import Step as OptimiserStep
from rlent.conformance.cases import Case
from rlent.conformance.methods.method import FLOAT64, Method, Outputs
from rlent.conformance.methods.verl import only, verl_ppo, verl_signal
from rlent.conformance.records import gradients, rollouts_of, signal_of, tokens_of
from rlent.divergences import k3
from rlent.interventions import (
    BRPO,
    HAPO,
    AdvantageReweighting,
    DCPOAdvantage,
    EdgeGRPO,
    EntropyAdvantage,
    HAPOAdvantage,
    Lopti,
    WReinforce,
)
from rlent.interventions.brpo import Baseline, budget_prior, thinking_advantages
from rlent.interventions.dcpo_advantage import fingerprint
from rlent.numerics import fill
from rlent.objective import build_objective
from rlent.reduce import LOCAL
from rlent.rollout import Sampling
from rlent.rollout.budgets import ELSEWHERE
from rlent.rollout.decoding import EntropyTemperature
from rlent.rollout.sampling import Step
from rlent.rollout.truncation import nats
from rlent.types import BudgetTree
from rlent_rewards import VoteRule, majority_vote

_EPSILON_WHILE_SAMPLING = 1e-6


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


def edge_grpo(case: Case) -> Outputs:
    """Where the entropies are averaged, padding counts as tokens, as in the released code."""
    given = case.hyperparameters
    entropy = case.inputs["entropy"].clone().requires_grad_()
    tokens = tokens_of(case, entropy=entropy)
    assert tokens.ref_logp is not None
    advantage = case.inputs["advantages_1d"].unsqueeze(1).expand_as(entropy)
    bounds = 1.0 - given["clip_low"], 1.0 + given["clip_high"]
    divergence = k3(tokens.logp, tokens.ref_logp, tokens.mask)
    plain = signal_of(tokens, advantage, bounds)
    plain = replace(plain, penalty=given["beta"] * divergence)
    padded = replace(tokens, mask=torch.ones_like(tokens.mask))
    signal, _ = EdgeGRPO(as_released=True).on_tokens(padded, plain)
    length = given["max_completion_length"]
    step = OptimiserStep(micro_batches=1, tokens=tokens.mask.sum(), max_length=length)
    loss = build_objective(given["loss_type"])(tokens, signal, counted=step, everything=step)
    grad_logp, grad_entropy = gradients(loss, tokens.logp, entropy)
    return {
        "loss": loss.detach(),
        "scaled_advantages": signal.advantage[:, 0],
        "grad_logp": grad_logp,
        "grad_entropy": grad_entropy,
    }


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
    return {
        "budget_probs": prior,
        **{name: each.flatten(0, 1) for name, each in outputs.items()},
        **_brpo_of_tokens(case, replace(config, baseline=BASELINES[given["vr"]]), levels),
    }


def _brpo_of_tokens(case: Case, config: BRPO, levels: Sequence[int]) -> Outputs:
    """The advantage of every token, and which tokens learn, traces one after another.

    The released code has one sequence for a trace: its thinking, and behind it forced tokens and summary of each of its
    branches. Here a branch is a row, whose tokens stand in the columns that they have in that sequence.
    """
    spans, reached = case.inputs["prompt_len"], case.inputs["split_id"]
    traces, branches = reached.shape
    segment = torch.full((traces, branches, int(spans.max())), ELSEWHERE)
    for trace, branch in product(range(traces), range(branches)):
        begin, end, _, summary, last = spans[trace, branch].tolist()
        segment[trace, -1, begin:end] = reached[trace, branch]
        segment[trace, branch, summary:last] = len(levels)
    rows = segment.flatten(0, 1)
    number = torch.arange(len(rows))
    tree = BudgetTree(
        levels=tuple(levels),
        generations=case.hyperparameters["G"],
        trace=number // branches,
        level=number % branches // case.hyperparameters["A"],
        reached=reached.flatten(),
        segment=rows,
    )
    nothing = torch.zeros(rows.shape, dtype=torch.float64)
    inputs = {"logp": nothing, "old_logp": nothing, "mask": rows != ELSEWHERE}
    rollouts = rollouts_of(tokens_of(replace(case, inputs=inputs)))
    reward = case.inputs["summary_scores"].flatten()
    advantage, _ = config.on_advantages(replace(rollouts, reward=reward, budgets=tree), nothing)
    learns = (segment != ELSEWHERE).any(1)
    each = advantage.view_as(segment).sum(1)
    ends = spans[:, :, -1].amax(1).tolist()
    return {
        "token_level_advantage": _one_after_another(each, ends),
        "trainable_mask": _one_after_another(learns, ends),
    }


def _one_after_another(values: Shaped[Tensor, "n t"], ends: Sequence[int]) -> Shaped[Tensor, " m"]:
    return torch.cat([row[:end] for row, end in zip(values, ends, strict=True)])


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
    return {
        "temperature": sampled_at(case, as_released=True),
        **shaped,
        **only(outputs, "loss", "per_token_loss", "grad_logp"),
    }


def sampled_at(case: Case, *, as_released: bool) -> Float[Tensor, "b t"]:
    """The temperatures that the tokens of ``logits`` are drawn at after a batch with the case's entropies."""
    given, logits = case.hyperparameters, case.inputs["logits"]
    rule = EntropyTemperature(tau=given["tau"], pivot=given["pivot"], as_released=as_released)
    stages = rule.build()
    stages.observe(case.inputs["entropy"][case.mask], LOCAL)
    assert stages.statistics is not None
    # While sampling, the release adds an epsilon to the deviation.
    scale = stages.statistics.scale + _EPSILON_WHILE_SAMPLING
    stages.statistics = replace(stages.statistics, scale=scale)
    scores = logits.flatten(0, -2)
    log_probs = scores.log_softmax(-1)
    step = Step(
        scores=scores,
        entropies=nats(log_probs.exp(), log_probs),
        positions=torch.zeros(len(scores), dtype=torch.int64),
        sampling=Sampling(max_new_tokens=1, temperature=given["base_temperature"]),
    )
    # The temperature is what a difference of scores was divided by.
    drawn = _spread(scores) / _spread(stages(step))
    return drawn.view(logits.shape[:-1])


def _spread(values: Float[Tensor, "n v"]) -> Float[Tensor, " n"]:
    return values.amax(-1) - values.amin(-1)


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
    "brpo": Method(outputs=brpo, tolerance=FLOAT64),
    "w_reinforce": Method(outputs=w_reinforce, tolerance=FLOAT64),
    "entropy_advantage": Method(outputs=entropy_advantage),
    "edge_grpo": Method(
        outputs=edge_grpo,
        tolerance=FLOAT64,
        remark="with padding among the tokens of the entropies, where in training it never is",
    ),
    "hapo": Method(outputs=hapo),
    "dcpo_advantage": Method(outputs=dcpo_advantage, tolerance=FLOAT64),
    "hapo_advantage": Method(
        outputs=hapo_advantage,
        tolerance=FLOAT64,
        remark="under the mask, beyond which the code leaves values",
    ),
}
