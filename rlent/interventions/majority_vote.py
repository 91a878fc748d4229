"""Rewards without labels: does a completion agree with the majority of its group?

Zuo et al., "TTRL: Test-Time Reinforcement Learning", arXiv 2504.16084; the reward of SPINE (arXiv 2511.17938) too::

    y* = most frequent answer of the group        r_i = 1[answer_i = y*]

The vote itself, its ties and its unparsable answers are ``rlent_rewards.vote``. TTRL's released code counts texts, lets
completions without an answer win, votes with 64 completions and trains on the first 32 of them. Recipe, as released::

    trainer: {num_generations: 64}
    interventions:
      - majority_vote: {count: text, unparsed: vote, train_on: 32}

It replaces whatever the listed rewards say, which are still logged under their names: list ``math_answer`` to watch the
true accuracy where labels exist, or nothing where they do not. Where all agree every advantage is 0, and only penalties
move the weights.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlent.interventions.groups import rows_of_groups
from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.types import Rollouts
from rlent_rewards import Vote, VoteRule, majority_vote
from rlent_rewards.extraction import Extraction


@dataclass(frozen=True, kw_only=True)
class MajorityVote(Intervention):
    """Reward 1 where the answer is that of most completions of the group, else 0."""

    name: ClassVar[str] = "majority_vote"
    paper: ClassVar[str] = "TTRL, arXiv 2504.16084; SPINE, arXiv 2511.17938"
    writes: ClassVar[frozenset[str]] = frozenset({"reward"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"reward"})

    vote: bool = True
    """False leaves the rewards as they are."""
    extract: Extraction = "auto"
    """Where the answer stands in a completion, as for the reward math_answer."""
    count: Literal["equivalent", "text"] = "equivalent"
    """What counts as the same answer: equal values, or equal texts (TTRL)."""
    ties: Literal["first", "none"] = "first"
    """Of several largest camps the one seen first wins (TTRL), or nobody does."""
    unparsed: Literal["abstain", "vote"] = "abstain"
    """Completions without an answer do not vote, or vote for having none and can win (TTRL)."""
    leave_one_out: bool = False
    """Judge each completion by the vote of the others (SPINE v1; second-hand)."""
    train_on: int | None = None
    """Train on the first so many completions of each group only, all of which vote; null is all."""

    def __post_init__(self) -> None:
        if self.train_on is not None and self.train_on < 2:
            raise ValueError(f"train_on must be at least 2, got {self.train_on}")

    @classmethod
    def neutral(cls) -> "MajorityVote":
        return cls(vote=False)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"texts", "whole_groups"})

    @property
    def smallest_group(self) -> int:
        return self.train_on or 1

    def on_rewards(self, rollouts: Rollouts) -> tuple[Float[Tensor, " n"], Metrics]:
        assert rollouts.texts is not None
        rule = VoteRule(
            extract=self.extract,
            count=self.count,
            ties=self.ties,
            unparsed=self.unparsed,
            leave_one_out=self.leave_one_out,
        )
        rewards, votes = torch.empty_like(rollouts.reward), []
        for rows in rows_of_groups(rollouts.group):
            votes.append(majority_vote([rollouts.texts[row] for row in rows], rule))
            rewards[rows] = rewards.new_tensor(votes[-1].rewards)
        return rewards if self.vote else rollouts.reward, _metrics(rewards, votes)

    def on_filter(
        self, rollouts: Rollouts, keep: Bool[Tensor, " n"]
    ) -> tuple[Bool[Tensor, " n"], Metrics]:
        if self.train_on is None:
            return keep, {}
        trained = torch.zeros_like(keep)
        for rows in rows_of_groups(rollouts.group):
            trained[rows[: self.train_on]] = True
        return keep & trained, {}


def _metrics(rewards: Tensor, votes: list[Vote]) -> Metrics:
    groups, completions = len(votes), len(rewards)
    return {
        "reward": Mean(rewards.sum(), completions),
        "majority_share": Mean(sum(vote.share for vote in votes), groups),
        "unparsed": Mean(sum(vote.unparsed for vote in votes), completions),
        "tied": Mean(sum(vote.tied for vote in votes), groups),
        "no_winner": Mean(sum(vote.winner is None for vote in votes), groups),
    }
