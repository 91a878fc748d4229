"""Rewards without labels: minus the mean entropy of the completion.

Prabhudesai et al., "Maximizing Confidence Alone Improves Reasoning" (RENT), arXiv 2505.22660::

    r_i = - sum_t H_{i,t} / |o_i|

with ``H`` the entropy under the generating policy (nats, sampling temperature). It is a reward and has no gradient: the
policy gradient raises what the policy is surest of. ``entropy_minimisation`` differentiates the entropy itself.

Read in the released code and on its front page; the paper was not read. The code can give completions without an answer
the entropy 7, which is a reward that none with an answer falls to (``without_answer``); its runs use GRPO with 5
completions, a KL term of 0.001 (``trainer.beta``), and that format rule in the example of the front page.

It replaces whatever the listed rewards say, which are still logged under their names. Recipe::

    interventions:
      - rent
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.types import Rollouts
from rlent_rewards.extraction import Extraction, extract_answer


@dataclass(frozen=True, kw_only=True)
class RENT(Intervention):
    """Reward every completion by minus its mean entropy; one without tokens is not scored (NaN)."""

    name: ClassVar[str] = "rent"
    paper: ClassVar[str] = "RENT, arXiv 2505.22660"
    writes: ClassVar[frozenset[str]] = frozenset({"reward"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"reward"})

    replace: bool = True
    """False leaves the rewards as they are, and only logs what they would have been."""
    without_answer: float | None = None
    """Reward of a completion in which no answer is found; null treats it like the others. Released: -7."""
    extract: Extraction = "auto"
    """Where the answer stands in a completion, as for the reward math_answer; read if ``without_answer`` is set."""

    def __post_init__(self) -> None:
        if self.without_answer is None:
            if self.extract != "auto":
                raise ValueError("extract has no effect unless without_answer is set; remove one")
        elif not math.isfinite(self.without_answer):
            raise ValueError(f"without_answer must be finite, got {self.without_answer}")

    @classmethod
    def neutral(cls) -> "RENT":
        return cls(replace=False)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset(
            {"old_entropy"} | ({"texts"} if self.without_answer is not None else set())
        )

    def on_rewards(self, rollouts: Rollouts) -> tuple[Float[Tensor, " n"], Metrics]:
        assert rollouts.old_entropy is not None
        length = rollouts.mask.sum(1)
        scored = length > 0
        mean = fill(rollouts.old_entropy, rollouts.mask).sum(1) / length.clamp(min=1)
        made = fill(-mean, scored, math.nan).to(rollouts.reward.dtype)
        metrics: dict[str, Mean] = {}
        if self.without_answer is not None:
            silent = ~self._answered(rollouts) & scored
            made = torch.where(silent, self.without_answer, made)
            metrics["without_answer"] = Mean(silent.sum(), len(silent))
        metrics["reward"] = Mean(fill(made, scored).sum(), scored.sum())
        return made if self.replace else rollouts.reward, metrics

    def _answered(self, rollouts: Rollouts) -> Bool[Tensor, " n"]:
        assert rollouts.texts is not None
        found = [_has_answer(text, self.extract) for text in rollouts.texts]
        return torch.tensor(found, dtype=torch.bool, device=rollouts.mask.device)


def _has_answer(text: str, extract: Extraction) -> bool:
    """A text whose answer cannot be found in time has none."""
    try:
        return bool(extract_answer(text, extract))
    except TimeoutError:
        return False
