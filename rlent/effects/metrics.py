"""What one pass over a generation batch says in numbers, under the names of a training run where it has them."""

from jaxtyping import Float
from torch import Tensor

from rlent.effects.apply import Effect
from rlent.numerics import fill

SHARE, PUSH, ENTROPY = "effect/selected_share", "effect/push", "effect/entropy"


def effect_metrics(effect: Effect, entropy_effect: Float[Tensor, "n t"]) -> dict[str, float]:
    """Means over the tokens of the batch.

    ``effect/push`` is the mean absolute push, ``effect/entropy`` the mean first-order change of entropy (nats per unit
    of step size).
    """
    rollouts, mask = effect.rollouts, effect.rollouts.mask
    assert rollouts.old_entropy is not None
    count = max(int(mask.sum()), 1)
    scored = rollouts.reward[~rollouts.reward.isnan()]
    completions = max(int(mask.any(dim=1).sum()), 1)

    def mean(values: Tensor) -> float:
        return float(fill(values.double(), mask).sum()) / count

    return {
        "reward": float(scored.double().mean()) if len(scored) else float("nan"),
        "entropy": mean(rollouts.old_entropy),
        "completions/mean_length": int(mask.sum()) / completions,
        SHARE: mean(effect.signal.select),
        PUSH: mean(effect.push.abs()),
        ENTROPY: mean(entropy_effect),
        **effect.metrics,
    }


def sampled_entropy_effect(effect: Effect) -> Float[Tensor, "n t"]:
    """``-push (log p + H)``: the change of entropy by a natural-gradient step, from the sampled tokens alone.

    Its mean over tokens drawn from the policy is ``-Cov(log p, push)`` ("The Entropy Mechanism of Reinforcement
    Learning for Reasoning Language Models", arXiv 2505.22617, Eq. 8, read second-hand), because ``-H`` is the mean of
    ``log p``. Nats per unit of step size.
    """
    rollouts = effect.rollouts
    assert rollouts.old_logp is not None
    assert rollouts.old_entropy is not None
    return fill(-effect.push * (rollouts.old_logp + rollouts.old_entropy), rollouts.mask)
