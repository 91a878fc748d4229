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
from dataclasses import dataclass
from typing import Any

from rlent.errors import ConfigError
from rlent.rollout.branching import Branching
from rlent.rollout.models import check_model, generating
from rlent.rollout.records import Generation
from rlent.rollout.run import Run
from rlent.rollout.sampling import Sampling
from rlent.rollout.sequence import SequenceState
from rlent.rollout.stopping import Stopping
from rlent.rollout.streams import sequence_key


@dataclass(frozen=True, kw_only=True)
class RolloutEngine:
    """Samples completions of one model under fixed settings.

    Raises ConfigError if the model is none that ``check_model`` accepts, or if settings do not fit together.
    """

    model: Any
    """A transformers causal language model, or a PEFT wrapper around one."""
    sampling: Sampling
    tokenizer: Any | None = None
    """For stop strings alone."""
    max_live: int | None = None
    """Most sequences in the batch at once; None for all."""
    branching: Branching | None = None
    """Where completions fork; None for nowhere."""

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
        for place, prompt in enumerate(prompts):
            if len(prompt) == 0:
                raise ConfigError(f"prompt {place} has no tokens", key="rollout.prompts")
        stopping = Stopping.of(self.sampling, self.tokenizer)
        sequences = self._sequences([tuple(prompt) for prompt in prompts], completions, seed, first)
        with generating(self.model):
            return Run(
                self.model, self.sampling, stopping, self.max_live, self.branching, sequences
            ).finish()

    def _sequences(
        self, prompts: list[tuple[int, ...]], completions: int, seed: int, first: int
    ) -> list[SequenceState]:
        limits = self.sampling.limits(len(prompts) * completions)
        places: dict[tuple[int, ...], int] = {}
        return [
            SequenceState(
                prompt=prompt,
                index=index,
                prompt_ids=ids,
                same_as=places.setdefault(ids, prompt),
                key=sequence_key(seed, first + prompt, index),
                limit=limits[prompt * completions + index],
            )
            for prompt, ids in enumerate(prompts)
            for index in range(completions)
        ]
