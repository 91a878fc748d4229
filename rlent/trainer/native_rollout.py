"""Generation by rlent's own engine under TRL's options, and the scores that it captured on the way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from rlent.errors import ConfigError
from rlent.rollout import Generation, RolloutEngine, Sampling
from rlent.trainer.config import EntropyGRPOConfig

_GENERATION_KWARGS = ("typical_p", "stop_strings")
"""Keys of TRL's ``generation_kwargs`` that the engine knows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Captured:
    """Log-probability and entropy of sampled tokens, one tensor [t] per completion."""

    completion_ids: list[list[int]]
    logp: list[Tensor]
    entropy: list[Tensor]

    @classmethod
    def of(cls, generation: Generation) -> "Captured":
        done = generation.completions
        return cls(
            completion_ids=[completion.token_ids.tolist() for completion in done],
            logp=[completion.log_probs for completion in done],
            entropy=[completion.entropies for completion in done],
        )

    def padded(self, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Both [n width], 0 behind each completion's end."""

        def pad(values: list[Tensor]) -> Tensor:
            padded = torch.nn.utils.rnn.pad_sequence(values, batch_first=True).to(device)
            return torch.nn.functional.pad(padded, (0, width - padded.size(1)))

        return pad(self.logp), pad(self.entropy)


def sampling_of(args: EntropyGRPOConfig, ends: Sequence[int]) -> Sampling:
    """The engine's settings for TRL's options; ``ends`` are the tokens that end a completion.

    Raises:
        ConfigError: an option has no meaning for the engine.
    """
    further: dict[str, Any] = {**cast(Mapping[str, Any], args.generation_kwargs or {})}
    if unknown := sorted(set(further) - set(_GENERATION_KWARGS)):
        raise ConfigError(
            "rlent's engine does not know this generation option",
            key=f"trainer.generation_kwargs.{unknown[0]}",
            expected=" or ".join(_GENERATION_KWARGS),
            remedy="remove it, or use rollout.engine: transformers",
        )
    if args.cache_implementation is not None:
        raise ConfigError(
            "rlent's engine has a cache of its own",
            key="trainer.cache_implementation",
            given=args.cache_implementation,
            remedy="remove it, or use rollout.engine: transformers",
        )
    stops: str | Sequence[str] = further.get("stop_strings") or ()
    return Sampling(
        max_new_tokens=args.max_completion_length,
        temperature=args.temperature,
        top_p=args.top_p,
        top_k=args.top_k,
        min_p=args.min_p or 0.0,
        typical_p=further.get("typical_p", 1.0),
        repetition_penalty=args.repetition_penalty,
        eos_token_ids=tuple(ends),
        stop_strings=(stops,) if isinstance(stops, str) else tuple(stops),
    )


@dataclass(slots=True)
class NativeRollout:
    """Generates for one trainer, with other random numbers at every call.

    The numbers of a call come from the seed, the optimiser step and the number of calls in that step, those of a
    completion from its place among those of all ranks: a resumed run draws what the uninterrupted one would have drawn,
    and so does one on another number of ranks.
    """

    args: EntropyGRPOConfig
    sampling: Sampling
    tokenizer: Any
    rank: int
    _step: int = -1
    _calls: int = 0

    def generate(self, model: Any, prompts: list[list[int]], step: int) -> Generation:
        """One completion per prompt; equal prompts are run through the model once."""
        self._calls = self._calls + 1 if step == self._step else 0
        self._step = step
        engine = RolloutEngine(
            model=model,
            sampling=self.sampling,
            tokenizer=self.tokenizer,
            max_live=self.args.max_live_sequences,
        )
        return engine.generate(prompts, seed=self._seed(), first=self.rank * len(prompts))

    def state_dict(self) -> dict[str, int]:
        return {"step": self._step, "calls": self._calls}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self._step, self._calls = state["step"], state["calls"]

    def _seed(self) -> int:
        numbers = (self.args.seed, self._step, self._calls)
        # Any mixing that keeps different calls apart; hash() of integers is the same in every process.
        return hash(numbers) & (2**63 - 1)
