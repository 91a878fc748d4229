"""What is noted of every token, against one pass over the whole sequence and plain loops."""

import math
from typing import Any

import pytest
import torch

from rlent.errors import RlentError
from rlent.rollout import Completion, RolloutEngine, Sampling
from rlent.rollout.streams import sequence_key, uniform
from tests.rollout.examples import (
    FAMILIES,
    PROMPTS,
    entropy,
    full_logits,
    log_softmax,
    make_model,
)


def sampled(model: Any, **options: Any) -> tuple[Completion, ...]:
    sampling = Sampling(**{"max_new_tokens": 14, **options})
    engine = RolloutEngine(model=model, sampling=sampling, max_live=4)
    return engine.generate(PROMPTS, 2, seed=3).completions


def check_numbers(
    model: Any, completions: tuple[Completion, ...], temperature: float, tolerance: float
) -> None:
    for completion in completions:
        tokens = completion.token_ids.tolist()
        logits = full_logits(model, PROMPTS[completion.prompt], tokens) / temperature
        for step, token in enumerate(tokens):
            log_probs = log_softmax(logits[step].tolist())
            assert completion.log_probs[step].item() == pytest.approx(
                log_probs[token], abs=tolerance
            )
            assert completion.entropies[step].item() == pytest.approx(
                entropy(log_probs), abs=tolerance
            )


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probs_and_entropies_are_those_of_a_scoring_pass(family: str) -> None:
    model = make_model(family)
    completions = sampled(model)
    assert len({tuple(completion.token_ids.tolist()) for completion in completions}) == 10
    check_numbers(model, completions, 1.0, 1e-4)


@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_they_are_taken_at_the_sampling_temperature(temperature: float) -> None:
    model = make_model()
    check_numbers(model, sampled(model, temperature=temperature), temperature, 1e-4)


def test_greedy_notes_temperature_one_and_draws_with_certainty() -> None:
    model = make_model()
    completions = sampled(model, temperature=0.0)
    check_numbers(model, completions, 1.0, 1e-4)
    assert all((completion.truncated_log_probs == 0).all() for completion in completions)


def rounded_model() -> Any:
    """Logits of a size at which the rounding of bfloat16 products is below 0.02."""
    model = make_model("qwen2")
    with torch.no_grad():
        model.lm_head.weight *= 0.3
    return model


def test_bfloat16_weights() -> None:
    model = rounded_model().bfloat16()
    completions = sampled(model)
    assert completions[0].log_probs.dtype == torch.float32
    check_numbers(model, completions, 1.0, 2e-2)


def test_bfloat16_autocast() -> None:
    model = rounded_model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        completions = sampled(model)
        check_numbers(model, completions, 1.0, 2e-2)


def test_truncation_and_penalty_change_the_draw_and_not_the_full_distribution() -> None:
    model = make_model()
    penalty, k = 1.5, 5
    completions = sampled(model, top_k=k, repetition_penalty=penalty)
    check_numbers(model, completions, 1.0, 1e-4)
    for completion in completions:
        prompt, tokens = PROMPTS[completion.prompt], completion.token_ids.tolist()
        logits = full_logits(model, prompt, tokens)
        for step, token in enumerate(tokens):
            scores = logits[step].tolist()
            for seen in {*prompt, *tokens[:step]}:
                scores[seen] *= penalty if scores[seen] < 0 else 1 / penalty
            least = sorted(scores)[-k]
            kept = [score if score >= least else -math.inf for score in scores]
            assert completion.truncated_log_probs[step].item() == pytest.approx(
                log_softmax(kept)[token], abs=1e-4
            )


def test_without_truncation_the_two_log_probs_are_one() -> None:
    for completion in sampled(make_model()):
        assert torch.equal(completion.log_probs, completion.truncated_log_probs)


def test_every_token_is_the_inverse_of_the_distribution_at_its_own_number() -> None:
    model = make_model()
    for completion in sampled(model):
        key = sequence_key(3, completion.prompt, completion.index)
        tokens = completion.token_ids.tolist()
        logits = full_logits(model, PROMPTS[completion.prompt], tokens)
        for step, token in enumerate(tokens):
            probs = [math.exp(value) for value in log_softmax(logits[step].tolist())]
            assert sum(probs[:token]) <= uniform(key, step) < sum(probs[: token + 1])


def test_the_numbers_can_be_used_by_autograd() -> None:
    completion = sampled(make_model())[0]
    weight = torch.ones(len(completion.log_probs), requires_grad=True)
    (completion.log_probs * completion.entropies * weight).sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, completion.log_probs * completion.entropies)


def test_logits_that_are_not_finite_are_an_error() -> None:
    model = make_model()
    with torch.no_grad():
        model.lm_head.weight[3] = math.nan
    with pytest.raises(RlentError, match="not finite"):
        sampled(model)
