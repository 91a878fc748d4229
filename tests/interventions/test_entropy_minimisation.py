"""entropy_minimisation: the recorded loss of the aligned form, and nothing that learns by a reward."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rlent.aggregate import Step
from rlent.distributions import Statistic
from rlent.interventions import EntropyMinimisation, chain
from rlent.objective import build_objective
from tests.interventions.examples import make_rollouts, make_tokens
from tests.laws.pipeline import number, run_chain

BEHIND = Statistic("next_entropy")
GOLDEN = Path(__file__).parents[1] / "golden" / "cases"


def tensor(entry: dict[str, object]) -> Tensor:
    return torch.tensor(entry["data"], dtype=torch.float64)


@pytest.mark.parametrize("case", [0, 1, 2])
def test_the_loss_is_the_recorded_one_of_the_aligned_form(case: int) -> None:
    """The entropy of the distribution that each generated token was drawn from; the released loss is another."""
    entries = json.loads((GOLDEN / f"one_shot_em_{case}.json").read_text())
    prompts, ids = (tensor(entries["inputs"][n]) for n in ("prompt_ids", "generated_ids"))
    logits = tensor(entries["inputs"]["logits"]) / entries["hyperparameters"]["loss_temperature"]
    start, length = prompts.shape[1], ids.shape[1]
    logp = logits[:, start - 1 : start - 1 + length].log_softmax(-1)
    mask = ids != entries["hyperparameters"]["pad_token_id"]
    tokens = replace(
        make_tokens(*mask.shape, mask=mask), entropy=-(logp.exp() * logp).sum(-1).requires_grad_()
    )
    signal, metrics = run_chain(chain([EntropyMinimisation()]), tokens)
    step = Step(micro_batches=1, tokens=mask.sum(), max_length=12)
    loss = build_objective("bnpo")(tokens, signal, counted=step, everything=step)
    aligned, released = entries["checks"][1], entries["outputs"]["loss"]["data"]
    expected = (
        aligned["independent_values"]["loss"]["data"]
        if "independent_values" in aligned
        else released
    )
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    assert number(metrics["entropy_minimisation/entropy"]) == pytest.approx(expected, rel=1e-9)


def test_the_released_form_reads_the_distribution_behind_each_token() -> None:
    """A response of T tokens: the entropies of places 2 to T, and that of the place behind the last token."""
    g = torch.Generator().manual_seed(4)
    logits = torch.randn(2, 6, 9, generator=g, dtype=torch.float64, requires_grad=True)
    lengths = (5, 3)
    mask = torch.arange(5).expand(2, 5) < torch.tensor(lengths).unsqueeze(1)
    logp = logits.log_softmax(-1)
    entropy = -(logp.exp() * logp).sum(-1)
    behind = torch.where(mask, entropy[:, 1:], math.nan)
    tokens = make_tokens(*mask.shape, mask=mask)
    tokens = replace(tokens, entropy=tokens.entropy.detach(), statistics={BEHIND: behind})
    signal, metrics = run_chain(chain([EntropyMinimisation(as_released=True)]), tokens)
    step = Step(micro_batches=1, tokens=mask.sum(), max_length=12)
    loss = build_objective("bnpo")(tokens, signal, counted=step, everything=step)
    (gradient,) = torch.autograd.grad(loss, logits)

    expected = torch.zeros((), dtype=torch.float64)
    for row, length in enumerate(lengths):
        for place in range(1, length + 1):
            weights = [math.exp(value) for value in logits[row, place].tolist()]
            shares = [weight / sum(weights) for weight in weights]
            mean = -sum(share * math.log(share) for share in shares)
            expected += mean / 8
            for word, share in enumerate(shares):
                slope = -share * (math.log(share) + mean) / 8
                assert gradient[row, place, word].item() == pytest.approx(slope, abs=1e-12)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert number(metrics["entropy_minimisation/entropy"]) == pytest.approx(expected.item())
    assert (gradient[:, 0] == 0).all()
    assert (gradient[1, 4:] == 0).all()


@pytest.mark.parametrize("loss_type", ["bnpo", "dapo", "grpo"])
def test_the_gradient_is_that_of_the_mean_entropy_alone(loss_type: str) -> None:
    tokens = make_tokens(rows=4, length=6)
    signal, _ = run_chain(chain([EntropyMinimisation(weight=0.5)]), tokens)
    step = Step(micro_batches=1, tokens=tokens.mask.sum(), max_length=12)
    loss = build_objective(loss_type)(tokens, signal, counted=step, everything=step)
    by_logp, by_entropy = torch.autograd.grad(
        loss, [tokens.logp, tokens.entropy], materialize_grads=True
    )
    assert (by_logp == 0).all()
    lengths = tokens.mask.sum(1)
    for row, column in tokens.mask.nonzero().tolist():
        share = 1 / (4 * lengths[row]) if loss_type == "grpo" else 1 / lengths.sum()
        assert by_entropy[row, column].item() == pytest.approx(0.5 * share.item())
    assert (by_entropy[~tokens.mask] == 0).all()


def test_there_is_no_reward() -> None:
    rollouts = make_rollouts(make_tokens())
    reward, _ = EntropyMinimisation().on_rewards(rollouts)
    assert reward.tolist() == [0.0] * 4
    assert EntropyMinimisation.overwrites == {"reward", "select"}


@pytest.mark.parametrize("weight", [-1.0, math.inf, math.nan])
def test_entropy_minimisation_refuses(weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        EntropyMinimisation(weight=weight)


def test_needs() -> None:
    assert EntropyMinimisation().needs == {"entropy_grad"}
    assert EntropyMinimisation(as_released=True).needs == {"statistics"}
    assert EntropyMinimisation(as_released=True).statistics == {BEHIND}
    assert not EntropyMinimisation().statistics
