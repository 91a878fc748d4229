"""Sampling completions from a Hugging Face causal language model, a group of them per prompt.

Against ``model.generate`` on the same rows (``scripts/bench.py rollout``):

* Each distinct prompt is run through the model once, and its keys and values are copied for its completions.
* A finished sequence leaves the batch at once, and one that waits takes its place. To wait until all places are free
  instead, and run the next ones in waves, took 1.3 times as long (16 places, lengths from 2 to 76).
* The cache is written in place (``cache.py``).
* A token takes one random number. ``torch.multinomial`` makes one per entry of the vocabulary.

Attention and its masks are the model's own, with all it needs: soft caps, sinks, sliding windows. From transformers
5.23 on, ``sdpa`` reads the keys and values of grouped-query attention in a decoding step as they lie in the cache, and
no function of our own was faster. Earlier versions copy them for every query head, which is as correct, and twelve
times the time of that attention (64 rows, 250 columns, 9 heads over 3, one core).

A completion depends on the model, its prompt, the settings and the seed, not on its neighbours nor on ``max_live``,
except for the rounding of products of other shapes. Rotary embeddings that change with the longest sequence of a batch
(types ``dynamic`` and ``longrope``, beyond the length that the model was first trained on) break this, as they do in
``generate``.

Under ``torch.autocast``, weights that require gradient are cast once per outermost context: put one around the call.
Frozen weights, as under LoRA adapters, are cast at every step: load them in the lower precision.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from rlent.errors import ConfigError
from rlent.rollout.branching import Branching
from rlent.rollout.decoding import (
    Cautious,
    DecodingRule,
    SwiReasoning,
    ThinkJustEnough,
    TwoModels,
)
from rlent.rollout.models import check_model, generating
from rlent.rollout.pair import PairRun
from rlent.rollout.records import Generation
from rlent.rollout.run import Run
from rlent.rollout.sampling import Sampling
from rlent.rollout.sequence import SequenceState, Start
from rlent.rollout.soft import SoftRun
from rlent.rollout.stopping import Stopping
from rlent.rollout.stops import StopRun
from rlent.rollout.streams import sequence_key
from rlent.rollout.trials import TrialRun


@dataclass(frozen=True, kw_only=True)
class RolloutEngine:
    """Samples completions of one model under fixed settings.

    Raises ConfigError if the model is none that ``check_model`` accepts, or if settings do not fit together.
    """

    model: Any
    """A transformers causal language model, or a PEFT wrapper around one."""
    sampling: Sampling
    tokenizer: Any | None = None
    """For stop strings, and for rules that look at text."""
    max_live: int | None = None
    """Most sequences in the batch at once; None for all."""
    branching: Branching | None = None
    """Where completions fork; None for nowhere."""
    decoding: DecodingRule | None = None
    """What tokens are drawn from; None for what ``sampling`` says."""
    large_model: Any | None = None
    """The second model of a ``TwoModels`` rule."""

    def __post_init__(self) -> None:
        check_model(self.model)
        if self.max_live is not None and self.max_live < 1:
            raise ConfigError(
                "max_live must be at least 1", key="rollout.max_live", given=self.max_live
            )
        if self.sampling.stop_strings and self.tokenizer is None:
            raise ConfigError(
                "stop strings are found in text, which needs the tokenizer",
                key="rollout.stop_strings",
                given=self.sampling.stop_strings,
            )
        if self.decoding is not None:
            self.decoding.check(self.sampling)
            self.decoding.check_tokenizer(self.tokenizer)
        self._check_large_model()

    def _check_large_model(self) -> None:
        switches = isinstance(self.decoding, TwoModels)
        if switches != (self.large_model is not None):
            raise ConfigError(
                "the rule needs its large model, which only `rlent eval` loads"
                if switches
                else "a large model is read by no other rule",
                key=f"decoding.{TwoModels.name}",
            )
        if switches:
            check_model(self.large_model)

    def generate(
        self, prompts: Sequence[Sequence[int]], completions: int = 1, *, seed: int, first: int = 0
    ) -> Generation:
        """``completions`` of every prompt (token ids, not padded), and their forks.

        The random numbers of a completion come from ``seed``, its prompt's place and its own index (``streams``): equal
        prompts in different places are run through the model once, and their completions differ. ``first`` is the place
        of the first prompt, where these are a part of more. Gradients are off, but
        the tensors returned are ordinary ones. The modes of the model's modules are restored, also after an exception.
        """
        if completions < 1:
            raise ConfigError(
                "every prompt needs a completion", key="rollout.completions", given=completions
            )
        starts = [
            Start(prompt=place, index=index, prompt_ids=tuple(ids))
            for place, ids in enumerate(prompts)
            for index in range(completions)
        ]
        return self.complete(starts, seed=seed, first=first)

    def complete(self, starts: Sequence[Start], *, seed: int, first: int = 0) -> Generation:
        """The completion of every start, whose (prompt, index) are distinct, by prompt and index.

        Each has the random numbers of its prompt's place and its own index, as in ``generate``. What it shares with a
        parent is run through the model again, once for all that share the same.
        """
        for start in starts:
            if not start.prompt_ids:
                raise ConfigError(f"prompt {start.prompt} has no tokens", key="rollout.prompts")
        stopping = Stopping.of(self.sampling, self.tokenizer)
        sequences = self._sequences(starts, seed, first)
        with ExitStack() as states:
            for model in (self.model, self.large_model):
                if model is not None:
                    states.enter_context(generating(model))
            return self._run(stopping, sequences).finish()

    def _run(self, stopping: Stopping, sequences: Sequence[SequenceState]) -> Run | PairRun:
        settings = (
            self.model,
            self.sampling,
            stopping,
            self.max_live,
            self.branching,
            sequences,
            self.decoding,
        )
        if isinstance(self.decoding, Cautious):
            return TrialRun(*settings, rule=self.decoding, tokenizer=self.tokenizer)
        if isinstance(self.decoding, ThinkJustEnough):
            return StopRun(*settings, rule=self.decoding, tokenizer=self.tokenizer)
        if isinstance(self.decoding, TwoModels):
            return PairRun(*settings[:-1], rule=self.decoding, large_model=self.large_model)
        if isinstance(self.decoding, SwiReasoning):
            return SoftRun(*settings, rule=self.decoding, tokenizer=self.tokenizer)
        return Run(*settings)

    def _sequences(self, starts: Sequence[Start], seed: int, first: int) -> list[SequenceState]:
        places: dict[tuple[int, ...], int] = {}
        limits = self.sampling.limits(len(starts))
        temperatures = self.sampling.temperatures_of(len(starts))
        return [
            SequenceState.begin(
                start,
                same_as=places.setdefault(start.context, len(places)),
                key=sequence_key(seed, first + start.prompt, start.index),
                limit=limit,
                temperature=temperature,
            )
            for start, limit, temperature in zip(starts, limits, temperatures, strict=True)
        ]
