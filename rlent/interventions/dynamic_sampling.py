"""Groups whose rewards are all equal teach nothing and are given up.

Yu et al., "DAPO: An Open-Source LLM Reinforcement Learning System at Scale", arXiv 2503.14476, Sec. 3.2 and Eq. 11:
only prompts with ``0 < number of correct completions < G`` are trained on. The paper's code generates until the batch
is full (at most 10 generation batches); CE-GPPO's scripts generate once and train on what is left.

* ``zero_variance: resample`` puts other prompts in the place of such groups, for at most ``max_rounds`` generations;
  what is still without variance then is dropped, and counted (``resampling/empty_groups``).
* ``zero_variance: drop`` trains on the others alone.

Tokens of a group that was given up are in no denominator. Recipe::

    interventions:
      - dynamic_sampling: {zero_variance: resample, max_rounds: 10}
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.types import Rollouts


@dataclass(frozen=True, kw_only=True)
class DynamicSampling(Intervention):
    """Train only on groups in which the reward differs."""

    name: ClassVar[str] = "dynamic_sampling"
    paper: ClassVar[str] = "DAPO, arXiv 2503.14476"
    writes: ClassVar[frozenset[str]] = frozenset()

    zero_variance: Literal["resample", "drop", "keep"] = "resample"
    """What happens to groups without variance; ``keep`` only counts them."""
    max_rounds: int = 10
    """Further generations for one batch, at least 1; read by ``resample``."""
    reward: str | None = None
    """Name of the listed reward that must differ; null is the whole reward. DAPO looks at correctness alone, before
    its length penalty."""

    def __post_init__(self) -> None:
        if self.max_rounds < 1:
            raise ValueError(f"max_rounds must be at least 1, got {self.max_rounds}")

    @classmethod
    def neutral(cls) -> "DynamicSampling":
        return cls(zero_variance="keep")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"whole_groups"})

    @property
    def resample_rounds(self) -> int:
        return self.max_rounds if self.zero_variance == "resample" else 0

    @property
    def named_rewards(self) -> frozenset[str]:
        return frozenset() if self.reward is None else frozenset({self.reward})

    def on_filter(
        self, rollouts: Rollouts, keep: Bool[Tensor, " n"]
    ) -> tuple[Bool[Tensor, " n"], Metrics]:
        reward = rollouts.named_reward(self.reward)
        judged = keep & ~reward.isnan()
        _, group = rollouts.group.unique(return_inverse=True)
        groups = int(group.max()) + 1 if len(group) else 0
        highest = _of_group(reward, judged, group, groups, "amax", -torch.inf)
        lowest = _of_group(reward, judged, group, groups, "amin", torch.inf)
        differs = highest > lowest
        metrics = {"zero_variance_groups": Mean((~differs).sum(), groups)}
        return keep if self.zero_variance == "keep" else keep & differs[group], metrics


def _of_group(
    reward: Tensor, judged: Tensor, group: Tensor, groups: int, reduction: str, empty: float
) -> Tensor:
    start = torch.full((groups,), empty, dtype=reward.dtype, device=reward.device)
    return start.scatter_reduce(0, group, torch.where(judged, reward, empty), reduction)
