"""What is trained in the comparisons of one process with many."""

import json
from typing import Any

FOUR_IDEAS: list[dict[str, Any]] = [
    {"entropy_weighted_reward": {}},
    {"forking_tokens": {"fraction": 0.3, "denominator": "all"}},
    {"entropy_band": {}},
    {"clip_preserve": {}},
]
STEPS = {
    "interventions": FOUR_IDEAS,
    "max_steps": 3,
    "num_iterations": 2,
    "gradient_accumulation_steps": 2,
}
CASES: dict[str, dict[str, Any]] = {
    "plain": STEPS,
    "kl": {**STEPS, "beta": 0.1},
    "lora": {**STEPS, "lora": True},
    "kl and lora": {**STEPS, "beta": 0.1, "lora": True},
    "exact kl": {
        **STEPS,
        "interventions": [*FOUR_IDEAS, {"kl_anchor": {"weight": 0.1, "estimator": "exact"}}],
    },
    "distributions": {
        **STEPS,
        "interventions": [
            *FOUR_IDEAS,
            {"lp_reg": {"share": 0.5, "min_p": 0.05}},
            {"siren": {"weight": 0.1}},
            {"aent": {"weight": 0.001, "low": 4.0, "high": 5.0}},
            {"simko": {"mix": 0.3, "quantile": 0.3, "correct": 0.1}},
        ],
    },
    "in parts, refilled": {
        **STEPS,
        "reward": "three_digits",
        "interventions": [{"dynamic_sampling": {"max_rounds": 2}}, *FOUR_IDEAS],
        "tokens_per_micro_batch": 40,
    },
}
"""Trainer options by the name of the case."""


def three_digits(completions: list[str], **_: Any) -> list[float]:
    """1 where three words are digits, as they are in few completions: many groups are all alike."""
    return [float(sum(word.isdigit() for word in text.split()) >= 3) for text in completions]


ENGINES: dict[str, dict[str, Any]] = {
    "data parallel": {},
    "zero 0": {"zero": 0},
    "zero 1": {"zero": 1},
    "zero 2": {"zero": 2},
    "zero 3": {"zero": 3, "keep_gathered": 0},
}
"""Recipe sections; nothing is small enough to stay whole in the last."""


def arguments(engine: dict[str, Any], cases: dict[str, Any] = CASES) -> tuple[str, str]:
    """Engine and cases as ``workers/train.py`` takes them."""
    return json.dumps(engine), json.dumps(cases)


NOT_COMPARED = ("time", "per_second", "saved/padded_tokens")
"""Parts of the names of metrics that measure the machine, or how a rank has arranged its part of the work."""
REFILLED = ("num_tokens", "tokens/generated")
"""They count what ranks with less to refill generate so that all generate as much."""
BY_MICRO_BATCH = ("clip_ratio/low_min", "clip_ratio/high_max")
"""TRL's means over micro-batches of an extreme of each: they depend on what the micro-batches are."""


def largest_difference(
    one: list[dict[str, Any]], many: list[dict[str, Any]], *, parts: bool = False
) -> float:
    """Of all metrics of all steps, which must be the same, relative above 1 and absolute below.

    Args:
        parts: whether micro-batches were split otherwise, and so not alike.
    """
    left_out = (*NOT_COMPARED, *((*BY_MICRO_BATCH, *REFILLED) if parts else ()))
    differences = []
    for mine, theirs in zip(one, many, strict=True):
        names = [name for name in mine if not any(word in name for word in left_out)]
        assert set(names) <= theirs.keys(), f"missing: {set(names) - theirs.keys()}"
        differences += [
            abs(mine[name] - theirs[name]) / max(1.0, abs(mine[name])) for name in names
        ]
    return max(differences)
