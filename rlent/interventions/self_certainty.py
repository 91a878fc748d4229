"""Rewards without labels: how sure the policy is of its own tokens.

Zhao et al., "Learning to Reason without External Rewards" (Intuitor), arXiv 2505.19590::

    r_i = (1 / |o_i|) sum_t KL(U || p_t) + log V = (1 / |o_i|) sum_t ( logsumexp(z_t) - mean(z_t) )

with ``z_t`` the logits over the vocabulary of ``V`` tokens that token ``t`` of completion ``i`` was sampled from,
divided by the sampling temperature, ``p_t`` their softmax and ``U`` the uniform distribution; nats. The constant
``log V`` by which this is more than the paper's KL divergence is the released code's too. It is the same for every
completion, and so is in no advantage.

The formula was read in second-hand accounts of the paper, and in code derived from the released code, in which logits
are divided by the temperature as they are here. The released code was not run. The policy is the one that generated,
scored once before the update. A token that the model's head rules out, by a logit of -inf, makes the divergence
infinite, which is refused.

It replaces whatever the listed rewards say, which are still logged under their names: list ``math_answer`` to watch the
true accuracy where labels exist, or nothing where they do not. Recipe::

    interventions:
      - self_certainty
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.distributions import Statistic
from rlent.errors import RewardError
from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.types import Rollouts

_LOGSUMEXP, _MEAN_LOGITS = Statistic("logsumexp"), Statistic("mean_logits")


@dataclass(frozen=True, kw_only=True)
class SelfCertainty(Intervention):
    """Reward the mean self-certainty of a completion's tokens."""

    name: ClassVar[str] = "self_certainty"
    paper: ClassVar[str] = "Intuitor, arXiv 2505.19590"
    writes: ClassVar[frozenset[str]] = frozenset({"reward"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"reward"})

    replace: bool = True
    """False leaves the rewards as they are, and only logs what they would have been."""

    @classmethod
    def neutral(cls) -> "SelfCertainty":
        return cls(replace=False)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"old_statistics"})

    @property
    def old_statistics(self) -> frozenset[Statistic]:
        return frozenset({_LOGSUMEXP, _MEAN_LOGITS})

    def on_rewards(self, rollouts: Rollouts) -> tuple[Float[Tensor, " n"], Metrics]:
        """A completion without tokens, such as one that is masked for its length, cannot be scored: NaN.

        Raises:
            RewardError: a certainty is infinite.
        """
        mask, statistics = rollouts.mask, rollouts.old_statistics
        certainty = fill(statistics[_LOGSUMEXP], mask) - fill(statistics[_MEAN_LOGITS], mask)
        if certainty.isinf().any():
            raise RewardError(
                "self_certainty is infinite: the model's head rules a token out, by a logit of -inf"
            )
        tokens = mask.sum(dim=1)
        reward = (certainty.sum(dim=1) / tokens.clamp(min=1)).to(rollouts.reward)
        metrics = {"reward": Mean(reward.sum(), (tokens > 0).sum())}
        return torch.where(
            tokens > 0, reward, torch.nan
        ) if self.replace else rollouts.reward, metrics
