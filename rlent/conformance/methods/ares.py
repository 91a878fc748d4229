"""ARES: its threshold, targets and reward."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rlent.conformance.cases import Case
from rlent.conformance.methods.method import FLOAT64, Method, Outputs
from rlent.conformance.records import rollouts_of, tokens_of
from rlent.interventions import AresReward
from rlent.interventions.ares.difficulty import NAMES, difficulties
from rlent.interventions.ares.reward import (
    Moments,
    released_shaping,
    released_strengths,
    released_targets,
)
from rlent.interventions.ares.windows import Threshold
from rlent.reduce import LOCAL
from rlent.types import Rollouts

FLOAT32 = 1e-6
"""The released entropies are float32."""

Listed = Mapping[str, float]
"""Log-probabilities of the most likely tokens at one position, by token number."""


def ares_reward(case: Case) -> Outputs:
    shaping, accuracy = [], []
    for item in case.inputs["items"]:
        right = f"\\boxed{{{item['ground_truth']}}}" in item["response"]
        added = released_shaping(
            torch.tensor([float(item["high_entropy_token_num"])], dtype=torch.float64),
            torch.tensor([right]),
            torch.tensor([NAMES.index(item["difficulty"])]),
            target=(float(item["target_high_entropy_token_num"]),) * 3,
            strength=(item.get("alpha_entropy", 0.5),) * 3,
        )
        shaping.append(float(added))
        accuracy.append(float(right))
    term = torch.tensor(shaping, dtype=torch.float64)
    return {"entropy_term": term, "overall": torch.tensor(accuracy, dtype=torch.float64) + term}


def ares_targets(case: Case) -> Outputs:
    prompts = case.inputs["info"]
    counts = _flat(prompts, "high_entropy_token_num")
    right = _flat(prompts, "acc") == 1.0
    group = torch.arange(len(prompts)).repeat_interleave(len(counts) // len(prompts))
    scored = torch.ones_like(right)
    config = AresReward(as_released=True)
    grade = difficulties(right, scored, group, easy=config.easy, medium=config.medium)
    moments = Moments.of(counts, grade, scored, LOCAL)
    target = released_targets(moments, (None,) * 3)
    before = tuple(case.hyperparameters["alpha0"][name] for name in NAMES)
    strength = released_strengths(moments, target, before)
    outputs: dict[str, Tensor | str] = {}
    for number, name in enumerate(NAMES):
        outputs[f"alpha.{name}"] = torch.tensor(strength[number], dtype=torch.float64)
        if (aim := target[number]) is not None:
            outputs[f"target.{name}"] = torch.tensor(aim)
    firsts = grade.view(len(prompts), -1)[:, 0].tolist()
    return outputs | {
        f"difficulty.{prompt}": NAMES[grade] for prompt, grade in zip(prompts, firsts, strict=True)
    }


def ares_threshold(case: Case) -> Outputs:
    given = case.hyperparameters
    config = AresReward(
        window=given["window_size"], quantile=given["percentile"] / 100, as_released=True
    )
    tracker = Threshold(config)
    words = torch.tensor([given["vocabulary"].index(word) for word in given["triggers"]])
    outputs: dict[str, Tensor] = {}
    for step, samples in enumerate(case.inputs["logprobs"]):
        measured = rollouts_of_step(case, samples, without_tail)
        threshold = tracker.of(measured)
        counted = rollouts_of_step(case, samples, _with_tail)
        assert counted.old_entropy is not None
        high = config.high(counted.old_entropy, counted.mask, threshold)
        outputs |= {
            f"steps.{step}.threshold_used": torch.tensor(threshold, dtype=torch.float64),
            f"steps.{step}.ema_threshold_after": torch.tensor(tracker.value, dtype=torch.float64),
            f"steps.{step}.trigger_count": (high & torch.isin(counted.completion_ids, words)).sum(
                1
            ),
        }
    return outputs


def _flat(prompts: Mapping[str, Any], name: str) -> Tensor:
    values = [value for prompt in prompts.values() for value in prompt[name]]
    return torch.tensor(values, dtype=torch.float64)


def without_tail(listed: Listed) -> float:
    logp = torch.tensor(list(listed.values()), dtype=torch.float64)
    return float(-(logp.exp() * logp).sum())


def _with_tail(listed: Listed) -> float:
    """The rest of the distribution is one token."""
    tail = max(0.0, 1.0 - sum(torch.tensor(list(listed.values()), dtype=torch.float64).exp()))
    rest = torch.tensor(float(tail), dtype=torch.float64)
    return without_tail(listed) - float(torch.special.xlogy(rest, rest.clamp(min=1e-12)))


def _likeliest(listed: Listed) -> int:
    return int(max(listed, key=lambda token: listed[token]))


def rollouts_of_step(
    case: Case, samples: list[list[Listed]], measure: Callable[[Listed], float]
) -> Rollouts:
    """A generation batch of which nothing but entropies and tokens is known."""
    rows = [
        torch.tensor([measure(each) for each in sample], dtype=torch.float64) for sample in samples
    ]
    ids = [torch.tensor([_likeliest(each) for each in sample]) for sample in samples]
    entropy = pad_sequence(rows, batch_first=True)
    mask = pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
    inputs = {"logp": torch.zeros_like(entropy), "old_logp": entropy, "mask": mask}
    rollouts = rollouts_of(tokens_of(replace(case, inputs=inputs)))
    numbers = pad_sequence(ids, batch_first=True)
    return replace(rollouts, old_entropy=entropy, completion_ids=numbers)


ARES_METHODS: dict[str, Method] = {
    "ares_reward": Method(outputs=ares_reward, tolerance=FLOAT64),
    "ares_targets": Method(outputs=ares_targets, tolerance=FLOAT64),
    "ares_threshold": Method(
        outputs=ares_threshold,
        tolerance=FLOAT32,
        remark="entropies of the ten most likely tokens, and the likeliest for the sampled one, as recorded",
    ),
}
