"""Generation by rlent's own engine under TRL's options, and the scores that it captured on the way."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from rlent.config.validate import parse_dataclass
from rlent.errors import ConfigError
from rlent.reduce import Reduce
from rlent.rollout import (
    Decoding,
    DecodingRule,
    Forking,
    ForkingRule,
    Generation,
    RolloutEngine,
    Sampling,
)
from rlent.rollout.forking.grow import Grower
from rlent.trainer.config import EntropyGRPOConfig
from rlent.trainer.refill import Share

_GENERATION_KWARGS = ("typical_p", "stop_strings")
"""Keys of TRL's ``generation_kwargs`` that the engine knows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Captured:
    """Log-probability and entropy of sampled tokens, one tensor [t] per completion."""

    completion_ids: list[list[int]]
    logp: list[Tensor]
    entropy: list[Tensor]
    branch_steps: list[int | None] = field(default_factory=list)
    """Number of tokens shared with a parent; none for what is no fork, and no list where nothing can be one."""

    @classmethod
    def of(cls, generation: Generation) -> "Captured":
        done = generation.completions
        return cls(
            completion_ids=[completion.token_ids.tolist() for completion in done],
            logp=[completion.log_probs for completion in done],
            entropy=[completion.entropies for completion in done],
            branch_steps=[completion.branch_step for completion in done],
        )

    def own(self, width: int, device: torch.device) -> Tensor:
        """Which places are not shared with a parent, [n width]."""
        shared = torch.tensor([step or 0 for step in self.branch_steps], device=device)
        return torch.arange(width, device=device) >= shared.unsqueeze(1)

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


def decoding_of(args: EntropyGRPOConfig, sampling: Sampling) -> DecodingRule | None:
    """The rule that the options name, with a memory of its own.

    Raises:
        ConfigError: none or several are named, an option of it is wrong, or it does not fit the other settings.
    """
    if args.decoding is None:
        return None
    rule = parse_dataclass(Decoding, args.decoding, "rollout.decoding").rule
    if not rule.trains or args.budgets is not None:
        raise ConfigError(
            "the rule draws from no distribution that a ratio could be taken of"
            if not rule.trains
            else "decoding and budgets cannot be had together",
            key=f"rollout.decoding.{rule.name}",
            remedy="remove it" if rule.trains else "use it in evaluation.decoding",
        )
    rule.check(sampling)
    return rule.build()


def forking_of(args: EntropyGRPOConfig) -> ForkingRule | None:
    """The branching rule that the options name.

    Raises:
        ConfigError: none or several are named, an option of it is wrong, or it does not fit the other settings.
    """
    if args.branching is None:
        return None
    rule = parse_dataclass(Forking, args.branching, "rollout.branching").rule
    if args.budgets is not None:
        raise ConfigError("branching and budgets cannot be had together", key="rollout.branching")
    rule.initial(args.num_generations)
    rows = args.per_device_train_batch_size * args.steps_per_generation
    if rows % args.num_generations:
        raise ConfigError(
            "completions of a group fork from each other, so they must be generated by one process",
            key=f"rollout.branching.{rule.name}",
            expected=f"trainer.per_device_train_batch_size * steps_per_generation ({rows}) to be a multiple of "
            f"num_generations ({args.num_generations})",
        )
    return rule


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
    decoding: DecodingRule | None = None
    forking: ForkingRule | None = None
    _share: Share | None = None
    _step: int = -1
    _calls: int = 0

    def generate(
        self, model: Any, prompts: list[list[int]], step: int, sampling: Sampling | None = None
    ) -> Generation:
        """One completion per prompt; equal prompts are run through the model once.

        ``sampling`` takes the place of the trainer's own settings.
        """
        engine = self._engine(model, sampling or self.sampling)
        return engine.generate(prompts, seed=self._next_seed(step), first=self._first(len(prompts)))

    def generate_groups(
        self, model: Any, prompts: list[list[int]], step: int, rule: ForkingRule
    ) -> Generation:
        """As ``generate``, with forks: equal prompts follow each other, as many as a group has completions."""
        size = self.args.num_generations
        groups = prompts[::size]
        assert prompts == [prompt for prompt in groups for _ in range(size)]
        grower = Grower(engine=self._engine(model, self.sampling), rule=rule)
        return grower.generate(
            groups,
            size,
            seed=self._next_seed(step),
            first=self._first(len(prompts)) // size,
        )

    def _first(self, rows: int) -> int:
        """Place of the first completion among those of all ranks."""
        share = self._share
        return self.rank * rows if share is None else share.below * self.args.num_generations

    @contextmanager
    def generating(self, share: Share) -> Iterator[None]:
        """What is generated meanwhile are these of all ranks' groups; without it, each rank has as many."""
        self._share = share
        try:
            yield
        finally:
            self._share = None

    def _engine(self, model: Any, sampling: Sampling) -> RolloutEngine:
        return RolloutEngine(
            model=model,
            sampling=sampling,
            tokenizer=self.tokenizer,
            max_live=self.args.max_live_sequences,
            decoding=self.decoding,
        )

    def observe(self, generation: Generation, reduce: Reduce, device: torch.device) -> None:
        """Show a training batch to the decoding rule; a collective if the rule remembers."""
        if self.decoding is not None and self.decoding.remembers:
            done = generation.completions
            if self._share is not None:
                done = done[: self._share.own * self.args.num_generations]
            noted = [completion.entropies for completion in done]
            self.decoding.observe(torch.cat(noted or [torch.empty(0)]).to(device), reduce)

    def state_dict(self) -> dict[str, Any]:
        decoding = {} if self.decoding is None else self.decoding.state_dict()
        return {"step": self._step, "calls": self._calls, "decoding": decoding}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._step, self._calls = state["step"], state["calls"]
        if self.decoding is not None:
            self.decoding.load_state_dict(state["decoding"])

    def _next_seed(self, step: int) -> int:
        self._calls = self._calls + 1 if step == self._step else 0
        self._step = step
        numbers = (self.args.seed, self._step, self._calls)
        # Any mixing that keeps different calls apart; hash() of integers is the same in every process.
        return hash(numbers) & (2**63 - 1)
