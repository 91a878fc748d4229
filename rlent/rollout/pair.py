"""The loop of the engine for two models that take turns: a batch for each, between which sequences change.

A sequence that changes leaves one batch and waits in front of the other, whose model then runs its prefix.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from torch import Tensor

from rlent.errors import ConfigError
from rlent.rollout.branching import Branching
from rlent.rollout.cache import RolloutCache
from rlent.rollout.decoding.two_models import TwoModels
from rlent.rollout.records import FinishReason, Generation, Statistics, Tally
from rlent.rollout.run import Run
from rlent.rollout.sampling import Sampling
from rlent.rollout.sequence import SequenceState
from rlent.rollout.stopping import Stopping
from rlent.rollout.truncation import nats

LARGE = "large_model_tokens"
"""Name of the tally of tokens that the large model drew."""


@dataclass(kw_only=True)
class Course:
    """What is remembered of a sequence."""

    bits: deque[float]
    """The last entropies."""
    seen: int = 0
    """Steps whose entropy has been looked at."""
    changed: int | None = None
    """Step of the last change."""
    large: int = 0
    """Tokens that the large model drew."""


class ModelRun(Run):
    """The batch of one of the two models."""

    other: "ModelRun"

    def __init__(
        self,
        *args: Any,
        rule: TwoModels,
        courses: dict[SequenceState, Course],
        width: int,
        is_large: bool,
    ) -> None:
        super().__init__(*args)
        self.rule, self.courses, self.width, self.is_large = rule, courses, width, is_large
        self.received = 0

    def receive(self, one: SequenceState) -> None:
        """A sequence that has changed to this model."""
        self.received += 1
        one.same_as = -self.received
        self.yet_to_begin[one.same_as] = 1
        self.waiting.appendleft(one)

    def _free(self) -> int:
        if self.max_live is None:
            return len(self.waiting)
        return self.max_live - len(self.live) - len(self.other.live)

    def _forward(
        self,
        inputs: dict[str, Tensor],
        positions: Tensor,
        lengths: list[int],
        cache: RolloutCache,
    ) -> Tensor:
        return super()._forward(inputs, positions, lengths, cache)[:, : self.width]

    def _sample(self) -> None:
        if not self.live:
            return
        self._hand_over()
        for one in self.live if self.is_large else ():
            self.courses[one].large += 1
        super()._sample()

    def _hand_over(self) -> None:
        """Give the other model the sequences that it is to go on with."""
        log_probs = self.logits.log_softmax(-1)
        bits = (nats(log_probs.exp(), log_probs) / math.log(2)).tolist()
        leaving = [row for row, one in enumerate(self.live) if self._changes(one, bits[row])]
        changed = [self.live[row] for row in leaving]
        self._drop(leaving)
        for one in reversed(changed):
            self.courses[one].changed = one.step
            self.other.receive(one)

    def _changes(self, one: SequenceState, bits: float) -> bool:
        course = self.courses[one]
        if course.seen > one.step:
            # It has just come from the other model, whose entropy counted at this step.
            return False
        course.seen = one.step + 1
        course.bits.append(bits)
        dwells = course.changed is not None and one.step - course.changed < self.rule.min_dwell
        return not dwells and (fmean(course.bits) > self.rule.threshold_bits) != self.is_large

    def _ended(self, one: SequenceState, reason: FinishReason) -> None:
        tally = Tally(name=LARGE, count=self.courses[one].large, of=one.step)
        self.done.append(replace(one.completion(reason), tallies=(tally,)))


class PairRun:
    """One call under a ``TwoModels`` rule. At most ``max_live`` sequences are in the two batches together."""

    def __init__(
        self,
        model: Any,
        sampling: Sampling,
        stopping: Stopping,
        max_live: int | None,
        branching: Branching | None,
        sequences: Sequence[SequenceState],
        *,
        rule: TwoModels,
        large_model: Any,
    ) -> None:
        if branching is not None:
            raise ConfigError("a sequence of two models cannot fork", key="rollout.branching")
        settings = (sampling, stopping, max_live, None)
        shared: dict[str, Any] = {
            "rule": rule,
            "courses": {one: Course(bits=deque(maxlen=rule.window)) for one in sequences},
            "width": min(model.config.vocab_size, large_model.config.vocab_size),
        }
        self.small = ModelRun(model, *settings, sequences, rule, is_large=False, **shared)
        self.large = ModelRun(large_model, *settings, [], rule, is_large=True, **shared)
        self.small.other, self.large.other = self.large, self.small

    def finish(self) -> Generation:
        runs = (self.small, self.large)
        while any(run.waiting or run.live for run in runs):
            for run in runs:
                run.turn()
        done = [one for run in runs for one in run.done]
        return Generation(
            completions=tuple(sorted(done, key=lambda one: (one.prompt, one.index))),
            statistics=Statistics(
                sampled_tokens=sum(run.spent.total() for run in runs),
                decode_steps=sum(run.decode_steps for run in runs),
                prefill_tokens=sum(run.prefill_tokens for run in runs),
            ),
        )
