"""The state of one sequence while it is being sampled."""

from dataclasses import dataclass, field

import torch

from rlent.rollout.branching import LiveSequence
from rlent.rollout.cache import Prefix
from rlent.rollout.records import Completion, FinishReason
from rlent.rollout.streams import fork_key, uniform


@dataclass(kw_only=True, eq=False)
class SequenceState:
    prompt: int
    index: int
    prompt_ids: tuple[int, ...]
    same_as: int
    """Place of the first prompt that is equal to this one's."""
    key: bytes
    """Of its random numbers, see ``streams``."""
    limit: int
    """Most tokens of the completion."""
    parent: int | None = None
    branch_step: int | None = None
    prefix: Prefix | None = None
    """What the cache row of a waiting fork begins with; None for others, whose rows begin with their prompt."""
    tokens: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    truncated_log_probs: list[float] = field(default_factory=list)

    @property
    def order(self) -> tuple[int, int]:
        return self.prompt, self.index

    @property
    def step(self) -> int:
        return len(self.tokens)

    @property
    def length(self) -> int:
        return len(self.prompt_ids) + len(self.tokens)

    @property
    def uniform(self) -> float:
        """The random number of the next token."""
        return uniform(self.key, self.step)

    def append(self, token: int, log_prob: float, entropy: float, truncated: float) -> None:
        self.tokens.append(token)
        self.log_probs.append(log_prob)
        self.entropies.append(entropy)
        self.truncated_log_probs.append(truncated)

    def fork(self, index: int, prefix: Prefix) -> "SequenceState":
        return SequenceState(
            prompt=self.prompt,
            index=index,
            prompt_ids=self.prompt_ids,
            same_as=self.same_as,
            key=fork_key(self.key, self.step),
            limit=self.limit,
            parent=self.index,
            branch_step=self.step,
            prefix=prefix,
            tokens=list(self.tokens),
            log_probs=list(self.log_probs),
            entropies=list(self.entropies),
            truncated_log_probs=list(self.truncated_log_probs),
        )

    def shown(self, token: int, log_prob: float, entropy: float) -> LiveSequence:
        """With the token just drawn, which is not appended yet."""
        return LiveSequence(
            prompt=self.prompt,
            index=self.index,
            parent=self.parent,
            step=self.step,
            token=token,
            log_prob=log_prob,
            entropy=entropy,
            entropies=self.entropies,
        )

    def completion(self, finish: FinishReason) -> Completion:
        return Completion(
            prompt=self.prompt,
            index=self.index,
            token_ids=torch.tensor(self.tokens, dtype=torch.long),
            log_probs=torch.tensor(self.log_probs, dtype=torch.float32),
            entropies=torch.tensor(self.entropies, dtype=torch.float32),
            truncated_log_probs=torch.tensor(self.truncated_log_probs, dtype=torch.float32),
            finish=finish,
            parent=self.parent,
            branch_step=self.branch_step,
        )
