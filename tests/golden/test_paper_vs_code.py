"""The numbers of docs/paper-vs-code.md: rlent's default on the inputs of a golden case, beside the released outputs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from rlent.conformance.cases import Case, load_case
from rlent.conformance.methods.verl import verl_ppo, verl_signal
from rlent.conformance.records import signal_of, tokens_of
from rlent.interventions import (
    BAPO,
    ERC,
    Archer,
    ClipCov,
    DCPOClip,
    EntropyAdvantage,
    KLCov,
    Steer,
)
from rlent.interventions.covariance import centre
from rlent.numerics import fill, whole_count
from rlent.types import Signal, Tokens

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


def steer_weight() -> Pair:
    """Weights of the token that the two forms treat most differently."""
    case, tokens, _ = records("steer_exp_2")
    config = Steer(min_weight=case.hyperparameters["w_min"])
    signal, _ = config.on_tokens(tokens, verl_signal(case, tokens))
    released = case.outputs["token_weights"]
    worst = fill((released - signal.weight).abs(), tokens.mask).flatten().argmax()
    return released.flatten()[worst].item(), signal.weight.flatten()[worst].item()


def entropy_advantage_loss() -> Pair:
    case, tokens, _ = records("entropy_advantage_0")
    config = EntropyAdvantage(alpha=case.hyperparameters["adv_alpha"])
    signal, _ = config.on_tokens(tokens, verl_signal(case, tokens))
    return case.outputs["loss"].item(), loss(case, tokens, signal)


def edge_grpo_loss() -> Pair:
    """The loss of the clean formula is recorded in the case; tests/interventions/test_edge_grpo.py computes it."""
    case = load_case(Path(__file__).parent / "cases" / "edge_grpo_0.json")
    clean = case.remarks["checks"][1]["independent_values"]["loss"]["data"]
    return case.outputs["loss"].item(), clean


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
        steer_weight,
        entropy_advantage_loss,
        edge_grpo_loss,
        epo_penalty,
        skywork_measurement,
        trl_measurement,
    )
}


def lines_of_the_page() -> dict[str, list[str]]:
    """Cells of the table's lines, by the name in the last one."""
    lines = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| `")]
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
