"""The numbers of docs/paper-vs-code.md: rlent's default on the inputs of a golden case, beside the released outputs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, tensor

from rlent.aggregate import Step as OptimiserStep
from rlent.conformance.cases import Case, load_case
from rlent.conformance.methods.advantages import sampled_at
from rlent.conformance.methods.ares import rollouts_of_step, without_tail
from rlent.conformance.methods.given_answers import align_distil, cdpo_answers, distilled
from rlent.conformance.methods.verl import verl_ppo, verl_signal
from rlent.conformance.records import rollouts_of, signal_of, tokens_of
from rlent.interventions import (
    ASPO,
    BAPO,
    ERC,
    HAPO,
    Archer,
    AresReward,
    ClipCov,
    ClipPreserve,
    DCPOClip,
    EdgeGRPO,
    EntropyAdvantage,
    EntropyMinimisation,
    ForkingTokens,
    KLCov,
    LpReg,
    Siren,
    Steer,
)
from rlent.interventions.ares.difficulty import NAMES
from rlent.interventions.ares.reward import paper_shaping
from rlent.interventions.ares.windows import Threshold
from rlent.interventions.covariance import centre
from rlent.interventions.hapo import scaled_entropy
from rlent.losses import CDPO
from rlent.numerics import fill, whole_count
from rlent.objective import build_objective
from rlent.rollout.branching_factor import branching_factor
from rlent.rollout.decoding import Cautious
from rlent.surrogates import CISPO, GMPO, PPO
from rlent.types import Signal, Tokens
from rlent_kernels import restricted_entropy, token_stats
from rlent_rewards import VoteRule, majority_vote

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "paper-vs-code.md").read_text(encoding="utf-8")

Pair = tuple[float, float]
"""What the released code gave, and what the paper's form gives."""


def records(name: str) -> tuple[Case, Tokens, Signal]:
    case = load_case(Path(__file__).parent / "cases" / f"{name}.json")
    tokens = tokens_of(case, entropy=case.inputs.get("entropy"))
    tokens = replace(tokens, old_entropy=case.inputs.get("old_entropy"))
    signal = signal_of(tokens, case.inputs["advantages"], bounds=(1.0, 1.0))
    return case, tokens, signal


def loss(case: Case, tokens: Tokens, signal: Signal) -> float:
    value = verl_ppo(case, tokens, signal)["loss"]
    assert isinstance(value, Tensor)
    return value.item()


def averaged(loss_type: str, tokens: Tokens, signal: Signal) -> float:
    """The loss of a micro-batch that is the whole step."""
    step = OptimiserStep(micro_batches=1, tokens=tokens.mask.sum(), max_length=1)
    return build_objective(loss_type)(tokens, signal, counted=step, everything=step).item()


def gmpo_rows() -> Pair:
    """The loss over all rows, and over those that have tokens."""
    case, tokens, signal = records("verl_geo_mean_1")
    bounds = GMPO().bounds(0.0, None)
    signal = signal_of(tokens, signal.advantage, bounds)
    per_token = GMPO()(tokens, signal)
    filled = tokens.mask.any(dim=1)
    per_row = per_token.sum(1)[filled] / tokens.mask.sum(1)[filled]
    return case.outputs["loss"].item(), per_row.mean().item()


def cispo_sides() -> Pair:
    """The loss with both bounds, and with the upper one alone."""
    case, tokens, signal = records("verl_cispo_1")
    bounds = CISPO().bounds(0.0, 1 + case.hyperparameters["clip_high"])
    per_token = CISPO()(tokens, signal_of(tokens, signal.advantage, bounds))
    return case.outputs["loss"].item(), (per_token.sum() / tokens.mask.sum()).item()


def clip_cov_number() -> Pair:
    case, tokens, _ = records("clip_cov_0")
    share = case.hyperparameters["clip_cov_ratio"]
    return case.outputs["dropped"].sum().item(), whole_count(share, tokens.mask.sum()).item()


def clip_cov_eligible() -> Pair:
    case, tokens, _ = records("clip_cov_2")
    config = ClipCov(low=case.hyperparameters["lb"], high=case.hyperparameters["ub"])
    eligible = config.eligible(tokens, verl_signal(case, tokens))
    return case.outputs["eligible"].sum().item(), eligible.sum().item()


def clip_cov_centre() -> Pair:
    """Tokens in the range when one half of the micro-batch is centred alone, and when all are centred together."""
    case, tokens, _ = records("clip_cov_1")
    config = ClipCov(low=case.hyperparameters["lb"], high=case.hyperparameters["ub"])
    given = tokens.logp.detach(), case.inputs["advantages"], tokens.mask
    whole = config.in_range(centre(*given).covariance(*given)) & tokens.mask
    alone = 0
    for part in (slice(0, 3), slice(3, None)):
        half = tuple(values[part] for values in given)
        alone += (config.in_range(centre(*half).covariance(*half)) & half[2]).sum().item()
    return alone, whole.sum().item()


def kl_cov_number() -> Pair:
    case, tokens, signal = records("kl_cov_0")
    config = KLCov(share=case.hyperparameters["k_percent"] / 100, scope="micro_batch")
    return case.outputs["selected"].sum().item(), config.selected(tokens, signal).sum().item()


def erc_loss() -> Pair:
    case, tokens, _ = records("erc_grpo_0")
    signal, _ = ERC().on_tokens(tokens, verl_signal(case, tokens))
    return case.outputs["loss"].item(), loss(case, tokens, signal)


def archer_kl(name: str) -> Pair:
    """What the KL terms add to the loss."""
    case, tokens, plain = records(name)
    signal, _ = Archer().on_tokens(tokens, plain)
    paper = loss(case, tokens, signal) - loss(case, tokens, replace(signal, penalty=plain.penalty))
    return case.outputs["loss"].item() - case.outputs["policy_loss"].item(), paper


def archer_average() -> Pair:
    return archer_kl("archer_0")


def archer_cap() -> Pair:
    return archer_kl("archer_2")


def dcpo_bound() -> Pair:
    case, tokens, plain = records("dcpo_1")
    signal, _ = DCPOClip().on_tokens(tokens, plain)
    impossible = tokens.old_logp.exp() == 0
    return case.outputs["ratio_low"][impossible].item(), signal.clip_low[impossible].item()


def dcpo_average() -> Pair:
    """The mean over the micro-batch's tokens, and the sum of each completion's own."""
    case, tokens, plain = records("dcpo_0")
    given = case.hyperparameters
    config = DCPOClip(epsilon_low=given["clip_low"], epsilon_high=given["clip_high"])
    signal, _ = config.on_tokens(tokens, plain)
    per_token = verl_ppo(replace(case, hyperparameters={"clip_c": given["clip_c"]}), tokens, signal)
    values = per_token["per_token_loss"]
    assert isinstance(values, Tensor)
    each = fill(values, tokens.mask).sum(1) / tokens.mask.sum(1)
    return case.outputs["loss"].item(), each.sum().item()


def bapo_bound() -> Pair:
    case, tokens, plain = records("bapo_0")
    given = case.hyperparameters
    config = BAPO(
        target=given["target"],
        low=(given["low_start"], given["low_max"]),
        high=(given["high_start"], given["high_max"]),
        high_step=given["high_step"],
    )
    signal, _ = config.on_tokens(tokens, plain)
    return case.outputs["clip_high"].item(), signal.clip_high[0, 0].item()


def bapo_sums() -> Pair:
    """The ratio of positive to negative contributions at the bounds that the code finds."""
    case, tokens, plain = records("bapo_1")
    low, high = (case.outputs[name].item() for name in ("clip_low", "clip_high"))
    _, metrics = BAPO(low=(low, low), high=(high, high)).on_tokens(tokens, plain)
    share = metrics["positive_share"]
    assert isinstance(share, float)
    return case.outputs["pos_neg_ratio"].item(), share / (1 - share)


def steer_weight() -> Pair:
    """Weights of the token that the two forms treat most differently."""
    case, tokens, _ = records("steer_exp_2")
    config = Steer(min_weight=case.hyperparameters["w_min"], scope="micro_batch")
    signal, _ = config.build().on_tokens(tokens, verl_signal(case, tokens))
    released = case.outputs["token_weights"]
    worst = fill((released - signal.weight).abs(), tokens.mask).flatten().argmax()
    return released.flatten()[worst].item(), signal.weight.flatten()[worst].item()


def ares_shaping(place: int) -> Pair:
    """What one completion's reward gains."""
    case = load_case(Path(__file__).parent / "cases" / "ares_reward_0.json")
    item = case.inputs["items"][place]
    paper = paper_shaping(
        tensor([item["high_entropy_token_num"]], dtype=torch.float64),
        tensor([case.outputs["accuracy"][place] == 1.0]),
        tensor([NAMES.index(item["difficulty"])]),
        target=(float(item["target_high_entropy_token_num"]),) * 3,
        strength=(item["alpha_entropy"],) * 3,
    )
    return case.outputs["entropy_term"][place], paper.item() + 0.0


def ares_wrong() -> Pair:
    return ares_shaping(0)


def ares_correct() -> Pair:
    return ares_shaping(4)


def ares_quantile() -> Pair:
    """Of the first completion of the first step."""
    case = load_case(Path(__file__).parent / "cases" / "ares_threshold_0.json")
    rollouts = rollouts_of_step(case, case.inputs["logprobs"][0][:1], without_tail)
    released = case.outputs["steps.0.sample_thresholds"][0]
    return released, Threshold(AresReward()).of(rollouts)


def entropy_advantage_loss() -> Pair:
    case, tokens, _ = records("entropy_advantage_0")
    config = EntropyAdvantage(alpha=case.hyperparameters["adv_alpha"])
    signal, _ = config.on_tokens(tokens, verl_signal(case, tokens))
    return case.outputs["loss"].item(), loss(case, tokens, signal)


def edge_grpo_loss() -> Pair:
    case = load_case(Path(__file__).parent / "cases" / "edge_grpo_0.json")
    given = case.hyperparameters
    tokens = replace(tokens_of(case), old_entropy=case.inputs["entropy"])
    advantage = case.inputs["advantages_1d"].unsqueeze(1).expand_as(tokens.mask)
    advantage, _ = EdgeGRPO().on_advantages(rollouts_of(tokens), advantage)
    bounds = 1.0 - given["clip_low"], 1.0 + given["clip_high"]
    signal = signal_of(tokens, advantage, bounds)
    return case.outputs["loss"].item(), averaged(given["loss_type"], tokens, signal)


def cautious_trials() -> Pair:
    """Continuations of all rows together."""
    case = load_case(Path(__file__).parent / "cases" / "cntp_1.json")
    given = case.hyperparameters
    rule = Cautious(
        min_entropy=given["entropy_threshold_low"],
        max_entropy=given["entropy_threshold_high"],
        max_trials=given["max_trials"],
    )
    paper = rule.count(case.outputs["entropy"].clamp(min=0)).sum().item()
    return case.outputs["trial_count"].sum().item(), paper


def branching_factor_tail() -> Pair:
    case = load_case(Path(__file__).parent / "cases" / "branching_factor_1.json")
    ((logp, entropy),) = zip(
        case.outputs["token_logprob"], case.outputs["token_entropy"], strict=True
    )
    paper = branching_factor(
        [tensor(row) for row in logp],
        [tensor(row) for row in entropy],
        limit=case.hyperparameters["asymptotic_limit"],
    )
    return case.outputs["bf"].item(), paper


def epo_penalty() -> Pair:
    """What the loss is charged for entropies outside the band, and the largest trace of it in a gradient."""
    case, tokens, _ = records("epo_0")
    mean = fill(case.inputs["entropy"], tokens.mask).sum() / tokens.mask.sum()
    bonus = -case.hyperparameters["entropy_coeff"] / int(tokens.mask.sum())
    trace = (case.outputs["grad_entropy"][tokens.mask] - bonus).abs().max().item()
    return (mean - case.outputs["entropy_term"]).item(), round(trace, 9)


def skywork_measurement() -> Pair:
    """The surprisal of the sampled tokens, and the mean entropy that the bonus raises, in the third step."""
    case = load_case(Path(__file__).parent / "cases" / "skywork_controller_0.json")
    entropy = fill(case.inputs["entropy"][2], case.mask).sum() / case.mask.sum()
    return case.outputs["measured_entropy"][2].item(), entropy.item()


def trl_measurement() -> Pair:
    """The entropy of the tokens that learn, and that of all tokens, over the first two micro-batches."""
    case = load_case(Path(__file__).parent / "cases" / "trl_adaptive_entropy_2.json")
    entropy = case.inputs["entropy"][:2][:, case.mask].mean()
    return case.outputs["measured_entropy"][1].item(), entropy.item()


def hapo_scale() -> Pair:
    """Of the token with the lowest entropy."""
    case, tokens, _ = records("hapo_0")
    lowest = fill(case.inputs["entropy"], tokens.mask, torch.inf).flatten().argmin()
    scaled, _ = scaled_entropy(case.inputs["entropy"], tokens.mask, case.hyperparameters["pivot"])
    return case.outputs["h_hat"].flatten()[lowest].item(), scaled.flatten()[lowest].item()


def hapo_loss() -> Pair:
    case, tokens, _ = records("hapo_0")
    given = case.hyperparameters
    config = HAPO(pivot=given["pivot"], clip=given["clip_alpha"], advantage=given["adv_beta"])
    signal, _ = config.on_tokens(tokens, verl_signal(case, tokens))
    return case.outputs["loss"].item(), loss(case, tokens, signal)


def one_shot_em_loss() -> Pair:
    case = load_case(Path(__file__).parent / "cases" / "one_shot_em_0.json")
    ids, given = case.inputs["generated_ids"], case.hyperparameters
    logits = case.inputs["logits"]
    entropy = token_stats(
        logits[:, -ids.shape[1] - 1 : -1],
        torch.eye(logits.shape[-1], dtype=logits.dtype),
        ids,
        temperature=given["loss_temperature"],
    ).entropy
    nothing = torch.zeros_like(entropy)
    inputs = {"logp": nothing, "old_logp": nothing, "mask": ids != given["pad_token_id"]}
    tokens = tokens_of(replace(case, inputs=inputs), entropy=entropy)
    plain = signal_of(tokens, nothing, bounds=(1.0, 1.0))
    signal, _ = EntropyMinimisation().on_tokens(tokens, plain)
    return case.outputs["loss"].item(), averaged("bnpo", tokens, signal)


def siren_nucleus() -> Pair:
    """The mean over the response tokens, from a head whose weight is the identity."""
    case = load_case(Path(__file__).parent / "cases" / "siren_0.json")
    logits = case.inputs["logits"]
    entropy = restricted_entropy(
        logits,
        torch.eye(logits.shape[-1], dtype=logits.dtype),
        case.mask,
        top_p=case.hyperparameters["top_p"],
    )
    return case.outputs["nucleus_entropy"][case.mask].mean().item(), entropy[
        case.mask
    ].mean().item()


ROWS: dict[str, Callable[[], Pair]] = {
    function.__name__: function
    for function in (
        clip_cov_centre,
        clip_cov_number,
        clip_cov_eligible,
        kl_cov_number,
        erc_loss,
        archer_average,
        archer_cap,
        dcpo_bound,
        dcpo_average,
        bapo_bound,
        bapo_sums,
        steer_weight,
        ares_wrong,
        ares_correct,
        ares_quantile,
        entropy_advantage_loss,
        edge_grpo_loss,
        cautious_trials,
        branching_factor_tail,
        epo_penalty,
        skywork_measurement,
        trl_measurement,
        hapo_scale,
        hapo_loss,
        one_shot_em_loss,
        gmpo_rows,
        cispo_sides,
        siren_nucleus,
    )
}


def cdpo_sigmoid() -> Pair:
    case = load_case(Path(__file__).parent / "cases" / "cdpo_0.json")
    loss = CDPO(positive="", negative="", gamma=case.hyperparameters["beta"])
    _, (chosen, rejected) = cdpo_answers(case, loss)
    return case.outputs["loss"].item(), loss.per_pair(chosen, rejected).losses.mean().item()


def align_distil_mask() -> Pair:
    case = load_case(Path(__file__).parent / "cases" / "aligndistil_0.json")
    late = align_distil(case)["mask"]
    assert isinstance(late, Tensor)
    predicted = torch.cat([late[:, 1:], torch.zeros_like(late[:, :1])], dim=1)
    return case.outputs["loss"].item(), distilled(case, predicted, slice(None))["loss"].item()


ROWS |= {row.__name__: row for row in (cdpo_sigmoid, align_distil_mask)}


def forking_tokens_ties() -> Pair:
    """Tokens kept where several have the entropy of the last of them, and all that have at least this entropy."""
    case, tokens, _ = records("eighty_twenty_1")
    kept = case.outputs["entropy_top_mask"].bool()
    threshold = case.inputs["entropy"][kept].min()
    ties = (case.inputs["entropy"] >= threshold) & tokens.mask
    return kept.sum().item(), ties.sum().item()


def forking_tokens_rounding() -> Pair:
    """Of two released codes: a fifth of the tokens rounded down, and rounded up."""
    case, tokens, signal = records("lpreg_8020_baseline_0")
    kept, _ = ForkingTokens(fraction=0.2, scope="micro_batch").on_tokens(
        replace(tokens, old_entropy=tokens.entropy), signal
    )
    return case.outputs["mask_after"].sum().item(), kept.select.sum().item()


def forking_tokens_dual_clip() -> Pair:
    case, tokens, _ = records("eighty_twenty_2")
    config = ForkingTokens(fraction=case.hyperparameters["rho"], as_released=True)
    signal, _ = config.on_tokens(tokens, verl_signal(case, tokens))
    return case.outputs["loss"].item(), without_dual_clip(case, tokens, signal)["loss"].item()


def forking_tokens_average() -> Pair:
    """TRL's policy term, of all tokens, and the same over the kept ones."""
    case = load_case(Path(__file__).parent / "cases" / "trl_bnpo_1.json")
    given, kept = case.hyperparameters, case.outputs["entropy_mask"].bool() & case.mask
    tokens = tokens_of(case)
    advantage = case.inputs["advantages_1d"].unsqueeze(1).expand_as(case.mask)
    bounds = 1 - given["epsilon_low"], 1 + given["epsilon_high"]
    values = PPO()(tokens, signal_of(tokens, advantage, bounds))[kept]
    policy = case.outputs["loss"].item() - given["beta"] * case.outputs["metric_kl"]
    return policy, values.mean().item()


def without_dual_clip(case: Case, tokens: Tokens, signal: Signal) -> dict[str, Tensor]:
    """Of the clipped surrogate; tensors by name."""
    outputs = verl_ppo(replace(case, hyperparameters={}), tokens, signal)
    return {name: value for name, value in outputs.items() if isinstance(value, Tensor)}


def preserved(name: str, low: float, high: float) -> tuple[Case, dict[str, Tensor]]:
    """What a case gives without its dual clip."""
    case, tokens, _ = records(name)
    signal, _ = ClipPreserve(keep_low=low, keep_high=high).on_tokens(
        tokens, verl_signal(case, tokens)
    )
    return case, without_dual_clip(case, tokens, signal)


def gppo_dual_clip() -> Pair:
    case, paper = preserved("gppo_2", 1.0, 1.0)
    return case.outputs["loss"].item(), paper["loss"].item()


def ce_gppo_dual_clip() -> Pair:
    """The gradient of the token that the two forms treat most differently."""
    given = load_case(Path(__file__).parent / "cases" / "ce_gppo_2.json").hyperparameters
    case, paper = preserved("ce_gppo_2", given["beta1"], given["beta2"])
    released = case.outputs["grad_logp"].flatten()
    worst = (released - paper["grad_logp"].flatten()).abs().argmax()
    return released[worst].item(), paper["grad_logp"].flatten()[worst].item()


def aspo_value() -> Pair:
    """The loss; the paper's scale is that of ratios throughout."""
    case, tokens, plain = records("aspo_2")
    given = case.hyperparameters
    config = ASPO(
        cap=given["neg_c"],
        quantile=given["quantile"],
        epsilon_low_entropy=given["neg_low_H"],
        epsilon_high_entropy=given["neg_high_H"],
    )
    signal, _ = config.on_tokens(tokens, plain)
    return case.outputs["loss"].item(), loss(case, tokens, signal)


def majority_vote_silence() -> Pair:
    """Mean reward of four completions, three of which have no answer."""
    case = load_case(Path(__file__).parent / "cases" / "ttrl_vote_2.json")
    released, paper = case.outputs["rewards"], majority_vote(case.inputs["solutions"], VoteRule())
    return sum(released) / len(released), sum(paper.rewards) / len(paper.rewards)


def entropy_temperature_sure() -> Pair:
    """Of the token that is surest when it is drawn."""
    case = load_case(Path(__file__).parent / "cases" / "hapo_0.json")
    log_probs = case.inputs["logits"].log_softmax(-1)
    surest = (log_probs.exp() * log_probs).sum(-1).flatten().argmax()
    paper = sampled_at(case, as_released=False).flatten()[surest]
    return case.outputs["temperature"].flatten()[surest].item(), paper.item()


def lp_reg_cap() -> Pair:
    """The loss where the policy is far from its proxy."""
    case, tokens, _ = records("lp_reg_2")
    given = case.hyperparameters
    config = LpReg(
        share=given["neg_share"],
        min_p=given["min_p"],
        weight=given["kl_coef"],
        scope="micro_batch",
    )
    proxy = {config.proxy: case.outputs["proxy_logp"]}
    signal, _ = config.build().on_tokens(
        replace(tokens, old_statistics=proxy), verl_signal(case, tokens)
    )
    return case.outputs["loss"].item(), loss(case, tokens, signal)


def siren_padding() -> Pair:
    """Positions behind a completion's end in the mask of high entropies."""
    case = load_case(Path(__file__).parent / "cases" / "siren_2.json")
    config = Siren(quantile=case.hyperparameters["mask_ratio"], as_released=True)
    selected = config.selected(case.outputs["nucleus_entropy"], case.mask)
    padding = ~case.mask
    released = case.outputs["value_mask"].bool() & padding
    return released.sum().item(), (selected & padding).sum().item()


ROWS |= {
    row.__name__: row
    for row in (
        forking_tokens_ties,
        forking_tokens_rounding,
        forking_tokens_dual_clip,
        forking_tokens_average,
        gppo_dual_clip,
        ce_gppo_dual_clip,
        aspo_value,
        majority_vote_silence,
        entropy_temperature_sure,
        lp_reg_cap,
        siren_padding,
    )
}


def lines_of_the_page() -> dict[str, list[str]]:
    """Cells of the table's lines, by the name in the last one."""
    lines = [
        line.strip("|").split("|")
        for line in PAGE.splitlines()
        if line.startswith(("| `", "| surrogate `"))
    ]
    cells = [[cell.strip() for cell in line] for line in lines]
    return {line[-1].strip("`"): line for line in cells}


@pytest.mark.parametrize("row", ROWS)
def test_the_page_has_both_numbers(row: str) -> None:
    released, paper = ROWS[row]()
    assert released != paper
    *_, given_released, given_paper, _, _ = lines_of_the_page()[row]
    assert (given_released, given_paper) == (f"{released:.3g}", f"{paper:.3g}")


def test_the_page_has_no_other_line() -> None:
    assert lines_of_the_page().keys() == ROWS.keys()
