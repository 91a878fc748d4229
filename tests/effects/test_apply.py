"""A chain's effect on saved completions, against plain loops and against the trainer's own."""

import math
from typing import Any

import pytest
import torch

from rlent.effects import (
    Setting,
    apply_chain,
    batch_of,
    changed_rows,
    check_without_training,
    effect_metrics,
    sampled_entropy_effect,
)
from rlent.effects.apply import grouped_advantages
from rlent.errors import ConfigError
from rlent.interventions import TABLE, ForkingTokens, MajorityVote, PositiveLikelihood, chain
from rlent.interventions.dynamic_sampling import DynamicSampling
from rlent.objective import build_objective
from rlent.tracking import read_batches, write_batch
from tests.report.runs import completion

SETTING = Setting(objective=build_objective("dapo"), scale="group", bounds=(0.8, 1.2), max_length=8)


def rows() -> list[dict[str, Any]]:
    """Two groups, of three and two completions of different length, in no order."""
    made = [
        completion(list("abc"), [0.1, 2.0, 0.3], group=0, reward=1.0),
        completion(list("de"), [0.5, 1.5], group=1, reward=0.0),
        completion(list("f"), [0.9], group=0, reward=0.0),
        completion(list("ghij"), [1.1, 0.2, 0.0, 0.4], group=1, reward=0.0),
        completion(list("k"), [0.6], group=0, reward=0.5),
    ]
    for place, row in enumerate(made):
        row["logp"] = [-0.1 * (place + 1) - 0.2 * t for t in range(len(row["token"]))]
        row["completion"] = f"the answer is {int(row['reward'])}"
    return made


def deviations(values: list[float]) -> list[float]:
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1))
    return [(v - mean) / (spread + 1e-4) for v in values]


def test_the_push_of_plain_grpo_is_the_advantage() -> None:
    effect = apply_chain(chain([]), batch := batch_of(rows(), {"right": 1.0}), entropy(), SETTING)
    first = deviations([1.0, 0.0, 0.5])
    expected = [first[0], 0.0, first[1], 0.0, first[2]]
    for i, row in enumerate(rows()):
        size = len(row["token"])
        assert batch.mask[i].tolist() == [True] * size + [False] * (4 - size)
        assert effect.push[i, :size].tolist() == pytest.approx([expected[i]] * size, abs=1e-6)
        assert effect.push[i, size:].tolist() == [0.0] * (4 - size)
    assert effect.metrics == {}


def entropy() -> torch.Tensor:
    old = batch_of(rows(), {"right": 1.0}).old_entropy
    assert old is not None
    return old


def test_selected_tokens_share_the_push_of_those_that_are_not() -> None:
    """Eleven tokens, the two of highest entropy are kept, and the denominator counts these two."""
    effect = apply_chain(
        chain([ForkingTokens(fraction=2 / 11)]),
        batch_of(rows(), {"right": 1.0}),
        entropy(),
        SETTING,
    )
    chosen = effect.signal.select & effect.rollouts.mask
    assert chosen.nonzero().tolist() == [[0, 1], [1, 1]]
    advantage = deviations([1.0, 0.0, 0.5])[0]
    assert effect.push[0].tolist() == pytest.approx([0, advantage * 11 / 2, 0, 0])
    assert effect.push[1:].abs().sum() == 0.0
    assert effect.metrics["forking_tokens/entropy_kept"] == pytest.approx(1.75)
    numbers = effect_metrics(effect, sampled_entropy_effect(effect))
    assert numbers["effect/selected_share"] == pytest.approx(2 / 11)
    assert numbers["effect/push"] == pytest.approx(advantage / 2)
    assert numbers["reward"] == pytest.approx(0.3)
    assert numbers["entropy"] == pytest.approx(7.6 / 11)
    assert numbers["completions/mean_length"] == pytest.approx(11 / 5)
    # -push (log p + H) at the only token with a push: log p = -0.1 - 0.2, H = 2.0.
    assert numbers["effect/entropy"] == pytest.approx(-advantage * 11 / 2 * (2.0 - 0.3) / 11)


def test_a_penalty_pushes_too() -> None:
    plain = apply_chain(chain([]), batch_of(rows(), {"right": 1.0}), entropy(), SETTING)
    likely = apply_chain(
        chain([PositiveLikelihood(weight=0.5)]),
        batch_of(rows(), {"right": 1.0}),
        entropy(),
        SETTING,
    )
    assert (likely.push[0, :3] > plain.push[0, :3]).all()
    assert likely.push[1].tolist() == plain.push[1].tolist()


def test_completions_that_are_given_up_learn_nothing_and_count_nowhere() -> None:
    effect = apply_chain(
        chain([DynamicSampling(zero_variance="drop")]),
        batch_of(rows(), {"right": 1.0}),
        entropy(),
        SETTING,
    )
    assert effect.rollouts.mask.any(dim=1).tolist() == [True, False, True, False, True]
    changed = changed_rows(rows(), effect, sampled_entropy_effect(effect))
    assert changed[1]["selected"] == [False, False]
    assert changed[1]["advantage"] == changed[1]["entropy_effect"] == [0.0, 0.0]
    # The five tokens that are left share the batch.
    assert effect.push[2, 0].item() == pytest.approx(deviations([1.0, 0.0, 0.5])[1], abs=1e-6)


def test_an_intervention_makes_the_reward() -> None:
    batch = batch_of(rows(), {})
    assert batch.reward.tolist() == [0.0] * 5
    assert batch.reward_names == ("unlabelled",)
    effect = apply_chain(chain([MajorityVote()]), batch, entropy(), SETTING)
    changed = changed_rows(rows(), effect, sampled_entropy_effect(effect))
    assert [row["reward"] for row in changed] == [0.0, 1.0, 1.0, 1.0, 1.0]
    assert [len(row["selected"]) for row in changed] == [3, 2, 1, 4, 1]
    assert "clipped" not in changed[0]


def test_rewards_are_weighed_and_what_cannot_be_scored_is_left_out() -> None:
    made = rows()
    for row in made:
        row["reward/short"] = None
    made[0]["reward/right"] = None
    batch = batch_of(made, {"right": 2.0, "short": 1.0})
    assert batch.reward.isnan().tolist() == [True, False, False, False, False]
    assert batch.reward[4].item() == 1.0
    effect = apply_chain(chain([]), batch, entropy(), SETTING)
    assert effect.push[0].abs().sum() == 0.0
    assert effect.push[4, 0].item() == pytest.approx(deviations([0.0, 1.0])[1])
    nothing = effect_metrics(effect, sampled_entropy_effect(effect))
    assert nothing["reward"] == pytest.approx(0.25)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_advantages_of_groups_in_any_order(scale: Any) -> None:
    reward = torch.tensor([1.0, 4.0, 2.0, 8.0, math.nan, 6.0])
    group = torch.tensor([7, 3, 7, 3, 7, 3])
    found = grouped_advantages(reward, group, scale=scale).tolist()
    centred = [-0.5, -2.0, 0.5, 2.0, 0.0, 0.0]
    everything = [1.0, 4.0, 2.0, 8.0, 6.0]
    mean = sum(everything) / 5
    spreads = {
        "group": [math.sqrt(0.5), 2.0] * 3,
        "batch": [math.sqrt(sum((v - mean) ** 2 for v in everything) / 4)] * 6,
        "none": [1.0 - 1e-4] * 6,
    }[scale]
    expected = [c / (s + 1e-4) for c, s in zip(centred, spreads, strict=True)]
    assert found == pytest.approx(expected, rel=1e-5)


REFUSED = {
    "adaptive_entropy",
    "aent",
    "archer",
    "ares_kl",
    "aspo",
    "bapo",
    "brpo",
    "clip_higher",
    "clip_preserve",
    "dcpo_advantage",
    "dcpo_clip",
    "entropy_band",
    "entropy_bonus",
    "entropy_minimisation",
    "erc",
    "kl_anchor",
    "kl_cov",
    "lp_reg",
    "next_token_loss",
    "self_certainty",
    "simko",
    "siren",
}
"""They act through the gradient of the entropy, a reference policy, ratios other than 1, whole distributions, or
thinking that rows share."""


def test_every_intervention_runs_or_is_refused_by_name() -> None:
    for name, cls in TABLE.items():
        links = chain([cls.neutral()])
        if name in REFUSED:
            with pytest.raises(ConfigError, match="without training") as caught:
                check_without_training(links)
            assert caught.value.key == f"interventions.0.{name}"
            continue
        check_without_training(links)
        effect = apply_chain(links, batch_of(rows(), {"right": 1.0}), entropy(), SETTING)
        assert effect.push.isfinite().all()


def test_what_only_a_micro_batch_knows_is_refused() -> None:
    links = chain([ForkingTokens(scope="micro_batch", denominator="all")])
    with pytest.raises(ConfigError, match="share a micro-batch") as caught:
        check_without_training(links)
    assert caught.value.key == "interventions.0.forking_tokens.scope"


def test_a_batch_is_put_together_from_its_ranks(tmp_path: Any) -> None:
    made = rows()
    write_batch(tmp_path, made[:2], 0, 0)
    write_batch(tmp_path, made[2:4], 0, 1)
    write_batch(tmp_path, made[4:], 1, 0)
    assert [[row["group"] for row in batch] for batch in read_batches(tmp_path)] == [
        [0, 1, 0, 1],
        [0],
    ]
