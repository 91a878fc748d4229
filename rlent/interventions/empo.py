"""Rewards without labels: the share of the group that gives the same answer.

Zhang et al., "Right Question is Already Half the Answer: Fully Unsupervised LLM Reasoning Incentivization" (EMPO),
arXiv 2504.05812. A prompt's ``G`` completions fall into clusters ``c`` of equivalent answers::

    p(c) = |c| / G                SE = - sum_c p(c) log p(c)                nats
    r_i  = p(c_i)   where low <= SE < high          0 elsewhere, and for completions without an answer

so the semantic entropy ``SE`` of the prompt falls, whatever the answer. Prompts on which it is too high to mean
anything, or already low, teach nothing.

Released code and front page were read; of the paper, the abstract and accounts of its two thresholds, whose values are
not known. What they leave open is a named choice here:

* Thresholds. The default is the released TRL code's: ``high = log G``, which no prompt reaches unless all completions
  differ, and no lower one. The released verl code has no threshold in effect.
* Completions without an answer are clusters of their own, each, as in the released verl code, and have reward 0, as in
  the TRL code; verl's gives them ``1 / G``, which is ``unparsed: share``.
* Equivalence, and the order in which clusters are made, are ``rlent_rewards.vote``'s. The released code for answers
  that are not mathematics asks a model whether two are equivalent; that is not here.

It replaces whatever the listed rewards say, which are still logged under their names. Recipe::

    interventions:
      - empo
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.interventions.groups import rows_of_groups
from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.types import Rollouts
from rlent_rewards import VoteRule, answer_classes
from rlent_rewards.extraction import Extraction


@dataclass(frozen=True, kw_only=True)
class EMPO(Intervention):
    """Reward every completion by the share of its group that gives an equivalent answer."""

    name: ClassVar[str] = "empo"
    paper: ClassVar[str] = "EMPO, arXiv 2504.05812"
    writes: ClassVar[frozenset[str]] = frozenset({"reward"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"reward"})

    replace: bool = True
    """False leaves the rewards as they are, and only logs what they would have been."""
    extract: Extraction = "auto"
    """Where the answer stands in a completion, as for the reward math_answer."""
    count: Literal["equivalent", "text"] = "equivalent"
    """What counts as the same answer: equal values, or equal texts."""
    unparsed: Literal["zero", "share"] = "zero"
    """What a completion without an answer has: 0, or ``1 / G``, the share of a cluster of its own."""
    low: float = 0.0
    """Least semantic entropy of a prompt that is rewarded, nats."""
    high: float | None = None
    """Semantic entropy at which a prompt is not rewarded any more, nats; null is the log of its completions."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.low < math.inf:
            raise ValueError(f"low must be 0 or positive, got {self.low}")
        if self.high is not None and not self.low < self.high < math.inf:
            raise ValueError(f"high must be above low ({self.low}), got {self.high}")

    @classmethod
    def neutral(cls) -> "EMPO":
        return cls(replace=False)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"texts", "whole_groups"})

    def on_rewards(self, rollouts: Rollouts) -> tuple[Float[Tensor, " n"], Metrics]:
        assert rollouts.texts is not None
        rule = VoteRule(extract=self.extract, count=self.count)
        made, entropies, silent = torch.zeros_like(rollouts.reward), [], 0
        groups = rows_of_groups(rollouts.group)
        for rows in groups:
            answers = answer_classes([rollouts.texts[row] for row in rows], rule)
            entropies.append(semantic_entropy(answers))
            silent += answers.count(None)
            if self._rewarded(entropies[-1], len(rows)):
                sizes = Counter(answers)
                sizes[None] = int(self.unparsed == "share")
                made[rows] = made.new_tensor([sizes[answer] / len(rows) for answer in answers])
        rewarded = sum(
            self._rewarded(e, len(rows)) for e, rows in zip(entropies, groups, strict=True)
        )
        metrics = {
            "reward": Mean(made.sum(), len(made)),
            "semantic_entropy": Mean(sum(entropies), len(groups)),
            "rewarded": Mean(rewarded, len(groups)),
            "unparsed": Mean(silent, len(made)),
        }
        return made if self.replace else rollouts.reward, metrics

    def _rewarded(self, entropy: float, completions: int) -> bool:
        """One completion has entropy 0 = log 1: it is never rewarded by default, as it agrees with nobody."""
        high = math.log(completions) if self.high is None else self.high
        # Sums of logs: all completions different gives log G up to rounding.
        return self.low <= entropy < high - 1e-12


def semantic_entropy(answers: Sequence[str | None]) -> float:
    """Entropy of the clusters, nats; every completion without an answer is a cluster."""
    sizes = Counter(answer for answer in answers if answer is not None)
    shares = [*sizes.values(), *[1] * (len(answers) - sizes.total())]
    return -math.fsum(size / len(answers) * math.log(size / len(answers)) for size in shares)
