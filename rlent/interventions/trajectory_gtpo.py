"""Whole completions by their entropy, and no blame for the beginnings and ends that right and wrong ones share.

Simoni et al., "GTPO: Trajectory-Based Policy Optimization in Large Language Models", arXiv 2508.03772 (another method
than the GTPO of ``entropy_weighted_reward``)::

    J = E[ 1/G sum_i delta_i (A_i - gamma <H>_i) / |o_i| sum_t r_{i,t} lambda_{i,t} ]
    delta_i     = 0 where <H>_i > ln 2, unless the initial policy's <H> was above ln 2 too; 1 elsewhere
    lambda_{i,t} = 0 on conflict tokens with A_i < 0, 2 on those with A_i > 0; 1 elsewhere

with ``<H>_i`` the mean entropy of completion ``i`` (nats). A token is in conflict if a completion with ``A > 0`` and
one with ``A < 0`` have it at the same place, counted from the start, and so have all tokens before it; or at the same
place counted from the end, and so have all tokens after it. ``gamma`` is 0.1.

Read in the released code and on its front page, whose formula this is; the paper was not read. Choices, and what the
code does instead (``as_released``):

* The code's threshold is 0.7, whatever the initial entropy.
* Entropies are those at generation; the code's are the current policy's, which is the same in its only update. The
  initial policy's is the mean over the tokens of the first generation batch; it is part of a checkpoint.
* A token that is in both runs has ``lambda`` 2, in the code 4.
* The code divides the loss of a completion once more, by its number of conflict tokens, which the formula does not
  have.
* A completion with ``delta_i = 0`` has advantage 0, and stays in the denominators and in the group's mean.
* The advantage is the reward minus the group's mean (``trainer.scale_rewards: none``), and the loss ``grpo``.

Recipe::

    trainer: {scale_rewards: none, loss_type: grpo}
    interventions:
      - trajectory_gtpo
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.interventions.groups import rows_of_groups
from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.released import take_released_settings
from rlent.types import Rollouts

_RELEASED_THRESHOLD = 0.7
"""Nats."""


@dataclass(frozen=True, kw_only=True)
class TrajectoryGTPO(Intervention):
    """Give up unsure completions, charge entropy to the others, and spare what wrong ones share with right ones."""

    name: ClassVar[str] = "trajectory_gtpo"
    paper: ClassVar[str] = "GTPO (trajectories), arXiv 2508.03772"
    writes: ClassVar[frozenset[str]] = frozenset({"advantage"})

    threshold: float | None = math.log(2)
    """Mean entropy above which a completion is not learnt from, nats; null is none."""
    charge: float = 0.1
    """Advantage lost per nat of mean entropy (gamma)."""
    conflicts: bool = True
    """Weight conflict tokens by 0 in wrong completions and ``reward_conflict`` in right ones."""
    reward_conflict: float = 2.0
    """Weight of conflict tokens in completions with a positive advantage."""
    as_released: bool = False
    """The released code: threshold 0.7 whatever the initial entropy, weights of the two runs multiplied, and the loss
    of a completion divided by its number of conflict tokens."""

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0.0 < self.threshold < math.inf:
            raise ValueError(f"threshold must be positive, got {self.threshold}")
        for name in ("charge", "reward_conflict"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or positive, got {getattr(self, name)}")
        if not self.conflicts and self.reward_conflict != 2.0:
            raise ValueError("reward_conflict has no effect with conflicts: false; remove one")
        if self.as_released:
            take_released_settings(self, {"threshold": _RELEASED_THRESHOLD})

    @classmethod
    def neutral(cls) -> "TrajectoryGTPO":
        return cls(threshold=None, charge=0.0, conflicts=False)

    @property
    def needs(self) -> frozenset[str]:
        entropy = {"old_entropy"} if self.threshold is not None or self.charge > 0 else set()
        return frozenset(entropy | ({"whole_groups"} if self.conflicts else set()))

    def build(self) -> "TrajectoryGTPOStages":
        return TrajectoryGTPOStages(self)


class TrajectoryGTPOStages:
    """The method with the entropy of the initial policy."""

    def __init__(self, config: TrajectoryGTPO) -> None:
        self._config = config
        self._initial: float | None = None

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        config, after = self._config, advantage
        total, length = rollouts.mask.sum(), rollouts.mask.sum(1)
        metrics: dict[str, Mean] = {}
        if config.needs & {"old_entropy"}:
            assert rollouts.old_entropy is not None
            sums = fill(rollouts.old_entropy, rollouts.mask).sum(1)
            mean = (sums / length.clamp(min=1)).to(advantage.dtype)
            self._measure(rollouts, sums)
            after = after - config.charge * mean.unsqueeze(1)
            unsure = self._unsure(mean)
            after = torch.where(unsure.unsqueeze(1), 0.0, after)
            metrics["unsure"] = Mean(unsure.sum(), len(unsure))
            metrics["entropy"] = Mean(mean.sum(), len(mean))
        if config.conflicts:
            weight, conflict = self._weights(rollouts, advantage)
            after = after * weight
            metrics["conflict"] = Mean(conflict, total)
        metrics["advantage"] = Mean(fill(after, rollouts.mask).sum(), total)
        return after, metrics

    def _measure(self, rollouts: Rollouts, sums: Float[Tensor, " n"]) -> None:
        """Take the initial policy's entropy from the first batch of training that has tokens."""
        count = float(rollouts.reduce.sum(rollouts.mask.sum()))
        entropy = float(rollouts.reduce.sum(sums.sum()))
        if self._initial is None and count > 0 and rollouts.train:
            self._initial = entropy / count

    def _unsure(self, mean: Float[Tensor, " n"]) -> Tensor:
        threshold, initial = self._config.threshold, self._initial
        spared = initial is None or (initial > (threshold or 0.0) and not self._config.as_released)
        if threshold is None or spared:
            return torch.zeros_like(mean, dtype=torch.bool)
        return mean > threshold

    def _weights(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], int]:
        """Weights of all tokens, and the number of conflict tokens."""
        weight, number = torch.ones_like(advantage), 0
        signs = fill(advantage, rollouts.mask).sum(1).sign().tolist()
        for rows in rows_of_groups(rollouts.group):
            tokens = [rollouts.completion_ids[row][rollouts.mask[row]].tolist() for row in rows]
            sides = [signs[row] for row in rows]
            starts = shared_run(tokens, sides)
            ends = shared_run([sequence[::-1] for sequence in tokens], sides)
            for row, sequence, start, end in zip(rows, tokens, starts, ends, strict=True):
                factor = self._config.reward_conflict if signs[row] > 0 else 0.0
                weights, conflict = self._row(len(sequence), start, end, factor)
                weight[row, rollouts.mask[row]] = weight.new_tensor(weights)
                number += conflict
        return weight, number

    def _row(self, length: int, start: int, end: int, factor: float) -> tuple[list[float], int]:
        """The weights of one completion, of which the first ``start`` and the last ``end`` tokens are in conflict."""
        runs = [(place < start) + (place >= length - end) for place in range(length)]
        conflict = sum(map(bool, runs))
        if not self._config.as_released:
            return [factor if run else 1.0 for run in runs], conflict
        return [factor**run / max(conflict, 1) for run in runs], conflict

    def state_dict(self) -> dict[str, Any]:
        return {"initial": self._initial}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._initial = state["initial"]


def shared_run(tokens: Sequence[Sequence[int]], signs: Sequence[float]) -> list[int]:
    """For each sequence the length of its longest beginning of tokens that are in conflict at their place.

    A token is in conflict at a place if a sequence of positive sign and one of negative sign have it there. Sequences
    of sign 0 take no part and have 0.
    """
    lengths = [0] * len(tokens)
    running, place = [i for i, sign in enumerate(signs) if sign != 0], 0
    while running:
        present = [
            {
                sequence[place]
                for sequence, sign in zip(tokens, signs, strict=True)
                if sign * side > 0 and len(sequence) > place
            }
            for side in (1, -1)
        ]
        conflict = present[0] & present[1]
        running = [i for i in running if len(tokens[i]) > place and tokens[i][place] in conflict]
        place += 1
        for i in running:
            lengths[i] = place
    return lengths
