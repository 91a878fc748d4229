"""The state of one sequence while it is being sampled."""

from dataclasses import dataclass, field, replace

import torch

from rlent.rollout.branching import LiveSequence
from rlent.rollout.cache import Prefix
from rlent.rollout.records import Completion, FinishReason
from rlent.rollout.streams import fork_key, uniform


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Where a completion begins: at its prompt, or after the first ``step`` tokens of another one of it."""

    prompt: int
    index: int
    prompt_ids: tuple[int, ...]
    parent: Completion | None = None
    step: int = 0

    @property
    def context(self) -> tuple[int, ...]:
        """Tokens before the first own one."""
        if self.parent is None:
            return self.prompt_ids
        return (*self.prompt_ids, *self.parent.token_ids[: self.step].tolist())


@dataclass(kw_only=True, eq=False)
class SequenceState:
    prompt: int
    index: int
    prompt_ids: tuple[int, ...]
    same_as: int
    """Number of the tokens that it begins with: equal ones have the same number."""
    key: bytes
    """Of its random numbers, see ``streams``."""
    limit: int
    """Most tokens of the completion."""
    temperature: float
    parent: int | None = None
    branch_step: int | None = None
    prefix: Prefix | None = None
    """What the cache row of a waiting fork begins with; None for others, whose rows begin with their prompt."""
    tokens: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    truncated_log_probs: list[float] = field(default_factory=list)

    @classmethod
    def begin(
        cls, start: Start, *, same_as: int, key: bytes, limit: int, temperature: float
    ) -> "SequenceState":
        """With what is known of the shared tokens."""
        parent = start.parent
        if parent is None:
            return cls(
                prompt=start.prompt,
                index=start.index,
                prompt_ids=start.prompt_ids,
                same_as=same_as,
                key=key,
                limit=limit,
                temperature=temperature,
            )
        shared = slice(start.step)
        return cls(
            prompt=start.prompt,
            index=start.index,
            prompt_ids=start.prompt_ids,
            same_as=same_as,
            key=key,
            limit=limit,
            temperature=temperature,
            parent=parent.index,
            branch_step=start.step,
            tokens=parent.token_ids[shared].tolist(),
            log_probs=parent.log_probs[shared].tolist(),
            entropies=parent.entropies[shared].tolist(),
            truncated_log_probs=parent.truncated_log_probs[shared].tolist(),
        )

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

    def trial(self, key: bytes, prefix: Prefix) -> "SequenceState":
        """The same so far, with other random numbers from here on."""
        return replace(
            self,
            key=key,
            prefix=prefix,
            tokens=list(self.tokens),
            log_probs=list(self.log_probs),
            entropies=list(self.entropies),
            truncated_log_probs=list(self.truncated_log_probs),
        )

    def take_over(self, trial: "SequenceState") -> None:
        """Go on with the tokens of a trial."""
        self.tokens, self.log_probs = trial.tokens, trial.log_probs
        self.entropies, self.truncated_log_probs = trial.entropies, trial.truncated_log_probs

    def fork(self, index: int, prefix: Prefix) -> "SequenceState":
        return SequenceState(
            prompt=self.prompt,
            index=index,
            prompt_ids=self.prompt_ids,
            same_as=self.same_as,
            key=fork_key(self.key, self.step),
            limit=self.limit,
            temperature=self.temperature,
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
