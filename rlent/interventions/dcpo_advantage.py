"""Advantages that remember what a prompt's rewards were at its earlier visits.

Yang et al., "DCPO: Dynamic Clipping Policy Optimization", arXiv 2509.02333 (smooth advantage standardisation). At the
``i``-th visit of a prompt, with ``new`` its rewards of this visit and ``total`` those of all visits::

    A_new = (R - mean_new) / std_new            A_total = (R - mean_total) / std_total          0 where the std is 0
    A     = the one of smaller magnitude of     (i-1)/i A_new + 1/i A_total   and   1/i A_new + (i-1)/i A_total
    mean_total = ((i-1) mean' + mean_new) / i
    var_total  = ((i-1) var' + var_new + (i-1)/i (mean_new - mean')^2) / i            primes: after the visit before

so a prompt whose rewards are all equal today still teaches, if they were not at other visits. ``var_new`` is unbiased.
At the first visit this is GRPO.

The front page and the released code were read (``rlent conformance``); the paper was not. The front page does not say
how the total deviation is made, which is the code's. A prompt is known again by its tokens. What is remembered is the
same on every rank, whichever rank a prompt comes back to, and is part of a checkpoint: three numbers for each prompt.
Prompts that are twice in one batch are both judged by the batches before. Completions that could not be scored are not
counted and have advantage 0, as have those of a prompt with fewer than two scored ones, which is no visit. Recipe::

    interventions:
      - dcpo_clip
      - dcpo_advantage
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rlent.interventions.groups import rows_of_groups
from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.types import Rollouts


@dataclass(frozen=True, kw_only=True)
class DCPOAdvantage(Intervention):
    """Replace advantages by those standardised over this visit and all visits of the prompt."""

    name: ClassVar[str] = "dcpo_advantage"
    paper: ClassVar[str] = "DCPO, arXiv 2509.02333"
    writes: ClassVar[frozenset[str]] = frozenset({"advantage"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"advantage"})

    replace: bool = True
    """False leaves advantages as they are, and only remembers rewards."""
    scale: Literal["group", "none"] = "group"
    """Divide by the deviations, or not at all."""

    @classmethod
    def neutral(cls) -> "DCPOAdvantage":
        return cls(replace=False)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"whole_groups", "prompts"})

    @property
    def smallest_group(self) -> int:
        return 2

    def build(self) -> "DCPOAdvantageStages":
        return DCPOAdvantageStages(self)


@dataclass(frozen=True, slots=True)
class Visits:
    """The rewards of a prompt so far."""

    count: int = 0
    mean: float = 0.0
    deviation: float = 0.0

    def and_then(self, mean: float, deviation: float) -> "Visits":
        """After one more visit with this mean and deviation."""
        before, count = self.count, self.count + 1
        if before == 0:
            return Visits(1, mean, deviation)
        spread = before / count * (mean - self.mean) ** 2
        variance = (before * self.deviation**2 + deviation**2 + spread) / count
        return Visits(count, (before * self.mean + mean) / count, math.sqrt(variance))


@dataclass(frozen=True, slots=True)
class _Visit:
    """One group of this rank's batch that has a mean and a deviation."""

    prompt: int
    rows: list[int]
    mean: float
    deviation: float


class DCPOAdvantageStages:
    """The method with its memory of prompts."""

    def __init__(self, config: DCPOAdvantage) -> None:
        self._config = config
        self._visits: dict[int, Visits] = {}

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        new = torch.zeros(len(advantage), dtype=torch.float64, device=advantage.device)
        visits, known, revived = list(_visits(rollouts)), 0, 0
        for visit in visits:
            history = self._visits.get(visit.prompt, Visits())
            new[visit.rows] = self._advantages(rollouts.reward[visit.rows].double(), visit, history)
            known += history.count > 0
            revived += visit.deviation == 0 and bool(new[visit.rows].any())
        if rollouts.train:
            for prompt, mean, deviation in _of_all_ranks(visits, rollouts):
                history = self._visits.get(prompt, Visits())
                self._visits[prompt] = history.and_then(mean, deviation)
        metrics = {"known": Mean(known, len(visits)), "revived": Mean(revived, len(visits))}
        if not self._config.replace:
            return advantage, metrics
        return new.to(advantage.dtype).unsqueeze(1).expand_as(advantage), metrics

    def _advantages(
        self, reward: Float64[Tensor, " g"], visit: _Visit, history: Visits
    ) -> Float64[Tensor, " g"]:
        total = history.and_then(visit.mean, visit.deviation)
        of_new = self._standardised(reward, visit.mean, visit.deviation)
        of_total = self._standardised(reward, total.mean, total.deviation)
        share = 1 / total.count
        mostly_new = (1 - share) * of_new + share * of_total
        mostly_total = share * of_new + (1 - share) * of_total
        return torch.where(mostly_new.abs() < mostly_total.abs(), mostly_new, mostly_total)

    def _standardised(
        self, reward: Float64[Tensor, " g"], mean: float, deviation: float
    ) -> Float64[Tensor, " g"]:
        if self._config.scale == "none":
            return reward - mean
        return (reward - mean) / deviation if deviation > 0 else torch.zeros_like(reward)

    def state_dict(self) -> dict[str, Any]:
        return {
            "prompts": {
                key: [each.count, each.mean, each.deviation] for key, each in self._visits.items()
            }
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._visits = {key: Visits(*numbers) for key, numbers in state["prompts"].items()}


def _visits(rollouts: Rollouts) -> Iterator[_Visit]:
    assert rollouts.prompt_mask is not None
    counted = rollouts.mask.any(1) & ~rollouts.reward.isnan()
    for group in rows_of_groups(rollouts.group):
        rows = [row for row in group if counted[row]]
        if len(rows) < 2:
            continue
        reward = rollouts.reward[rows].double()
        equal = bool((reward == reward[0]).all())
        prompt = rollouts.prompt_ids[rows[0]][rollouts.prompt_mask[rows[0]]].tolist()
        yield _Visit(
            prompt=fingerprint(prompt),
            rows=rows,
            mean=float(reward[0] if equal else reward.mean()),
            deviation=0.0 if equal else float(reward.std()),
        )


def fingerprint(tokens: Sequence[int]) -> int:
    """A number in 64 bits that is the same for equal tokens in every process."""
    digest = hashlib.blake2b(",".join(map(str, tokens)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _of_all_ranks(
    visits: Sequence[_Visit], rollouts: Rollouts
) -> Iterator[tuple[int, float, float]]:
    """Prompt, mean and deviation of every rank's visits, in the order of ranks."""
    reduce, device = rollouts.reduce, rollouts.mask.device
    number = torch.tensor(len(visits), device=device)
    first, total = int(reduce.sum_below(number)), int(reduce.sum(number))
    keys = torch.zeros(total, dtype=torch.int64, device=device)
    numbers = torch.zeros(total, 2, dtype=torch.float64, device=device)
    for place, visit in enumerate(visits, start=first):
        keys[place] = visit.prompt
        numbers[place] = numbers.new_tensor([visit.mean, visit.deviation])
    keys, numbers = reduce.sum(keys), reduce.sum(numbers)
    for key, (mean, deviation) in zip(keys.tolist(), numbers.tolist(), strict=True):
        yield key, mean, deviation
