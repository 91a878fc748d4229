"""The loop of the engine for a rule that tries several continuations and keeps one.

A sequence that is unsure leaves the batch; its trials take its place, each with random numbers of its own, and wait in
front of all others if there is no room. A trial that has come to its end leaves what is needed to go on from it, if it
is the best so far. After the last of them the sequence waits in front again, with the tokens of the best one.
"""

from dataclasses import dataclass
from typing import Any

import torch

from rlent.errors import ConfigError
from rlent.rollout.cache import Prefix
from rlent.rollout.decoding.cautious import Cautious, perplexity
from rlent.rollout.records import FinishReason
from rlent.rollout.run import Run
from rlent.rollout.sampling import penalise
from rlent.rollout.sequence import SequenceState
from rlent.rollout.streams import trial_key


@dataclass(kw_only=True)
class Contest:
    """The trials of one sequence at one place."""

    sequence: SequenceState
    left: int
    """Trials that have not come to their end."""
    rank: tuple[float, int] = (float("inf"), 0)
    """Perplexity and number of the best one."""
    best: SequenceState | None = None
    finish: FinishReason | None = None
    """Why the best one is the end of the completion; None if it goes on from ``prefix``."""
    prefix: Prefix | None = None

    def enter(
        self, number: int, trial: SequenceState, finish: FinishReason | None, prefix: Prefix | None
    ) -> None:
        """A trial at its end."""
        self.left -= 1
        own = torch.tensor(trial.truncated_log_probs[self.sequence.step :])
        rank = (float(perplexity(own)), number)
        if self.best is None or rank < self.rank:
            self.rank, self.best, self.finish, self.prefix = rank, trial, finish, prefix


class TrialRun(Run):
    """One call under a ``Cautious`` rule."""

    def __init__(self, *args: Any, rule: Cautious, tokenizer: Any) -> None:
        super().__init__(*args)
        if self.branching is not None:
            raise ConfigError(
                "a sequence that tries continuations cannot fork", key="rollout.branching"
            )
        self.rule, self.tokenizer = rule, tokenizer
        self.contests: dict[int, tuple[Contest, int]] = {}
        """Contest and number of every trial, by the state's ``id``."""
        self.discarded = 0
        self._ends: dict[int, bool] = {}

    def _sample(self) -> None:
        self._end_trials()
        self._begin_trials()
        super()._sample()

    def _end_trials(self) -> None:
        """Take out the trials whose last token ends a continuation."""
        over = [
            row
            for row, one in enumerate(self.live)
            if id(one) in self.contests and self._is_over(one)
        ]
        prefixes = {
            row: self.cache.prefix(row, self.live[row].length, self.logits[row]).copy()
            for row in over
        }
        trials = [self.live[row] for row in over]
        self._drop(over)
        for trial, prefix in zip(trials, prefixes.values(), strict=True):
            self._settle(trial, None, prefix)

    def _is_over(self, one: SequenceState) -> bool:
        contest, _ = self.contests[id(one)]
        if one.step == contest.sequence.step:
            return False
        token = one.tokens[-1]
        if token not in self._ends:
            self._ends[token] = self.rule.ends(str(self.tokenizer.decode([token])))
        return self._ends[token]

    def _begin_trials(self) -> None:
        """Put trials in the place of the sequences that are unsure."""
        rows = [row for row, one in enumerate(self.live) if id(one) not in self.contests]
        if not rows:
            return
        seen = self._seen().to(self.logits.device)
        scores = penalise(self.logits, seen, self.sampling.repetition_penalty)
        counts = self.rule.trials(scores, self.sampling).tolist()
        unsure = [row for row in rows if counts[row] > 1]
        trials: list[SequenceState] = []
        for row in unsure:
            one = self.live[row]
            prefix = self.cache.prefix(row, one.length, self.logits[row]).copy()
            contest = Contest(sequence=one, left=counts[row])
            for number in range(counts[row]):
                trial = one.trial(trial_key(one.key, one.step, number), prefix)
                self.contests[id(trial)] = (contest, number)
                trials.append(trial)
        self._drop(unsure)
        self.waiting.extendleft(reversed(trials))

    def _ended(self, one: SequenceState, reason: FinishReason) -> None:
        if id(one) in self.contests:
            self._settle(one, reason, None)
        else:
            super()._ended(one, reason)

    def _settle(
        self, trial: SequenceState, finish: FinishReason | None, prefix: Prefix | None
    ) -> None:
        contest, number = self.contests.pop(id(trial))
        sequence = contest.sequence
        self.discarded += trial.step - sequence.step
        contest.enter(number, trial, finish, prefix)
        if contest.left:
            return
        assert contest.best is not None
        self.discarded -= contest.best.step - sequence.step
        sequence.take_over(contest.best)
        if contest.finish is not None:
            super()._ended(sequence, contest.finish)
        else:
            sequence.prefix = contest.prefix
            self.waiting.appendleft(sequence)

    def sampled(self) -> tuple[int, int]:
        return self.spent.total() - self.discarded, self.discarded
