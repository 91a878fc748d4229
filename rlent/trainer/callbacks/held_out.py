"""Held-out problems, answered greedily before, during and after training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import ProcessorMixin, TrainerState

from rlent.data import prompt_ids, prompt_text, prompt_with_pictures
from rlent.errors import RlentError
from rlent.rollout import RolloutEngine, Sampling
from rlent.sharding import on_all_ranks
from rlent.trainer.callbacks.at_steps import AtSteps, is_due
from rlent.trainer.trainer import EntropyGRPOTrainer

SCORE = "held_out/score"
"""Metric: mean reward of the greedy completions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """Greedy completions of the held-out problems and their rewards, in the order of the problems."""

    step: int
    prompts: tuple[str, ...]
    completions: tuple[str, ...]
    scores: tuple[float | None, ...]
    """None, or NaN, where the reward does not apply."""

    @property
    def score(self) -> float:
        """Mean of the scores that there are. Raises RlentError if there are none."""
        scores = [score for score in self.scores if score is not None and not math.isnan(score)]
        if not scores:
            raise RlentError("the reward scored no held-out problem: it gave None for every one")
        return sum(scores) / len(scores)


class HeldOutCallback(AtSteps):
    """Scores the problems before the first step, every ``every`` steps, and after the last.

    The mean reward is logged as ``held_out/score``. Every rank answers its share of the problems.

    Args:
        rows: problems with ``prompt`` and the columns that the reward reads.
        reward: a reward function as TRL takes it.
        every: optimiser steps between evaluations; 0 only before and after.
    """

    def __init__(
        self,
        rows: Dataset | Sequence[dict[str, Any]],
        reward: Any,
        *,
        every: int,
        batch_size: int,
        length: int,
    ) -> None:
        super().__init__()
        self._every = every
        self._rows = rows
        self._reward = reward
        self._batch_size = batch_size
        self._length = length
        self.history: list[Answers] = []

    def measure(self, trainer: EntropyGRPOTrainer, state: TrainerState) -> dict[str, float]:
        if not is_due(state, self._every):
            return {}
        rank, ranks = trainer.accelerator.process_index, trainer.accelerator.num_processes
        with trainer.whole_model() as model:
            mine = range(len(self._rows))[rank::ranks]
            answered = on_all_ranks(partial(self._answered, trainer, model, mine))
        shares = gather_object([answered])
        ordered = [shares[i % ranks][i // ranks] for i in range(len(self._rows))]
        prompts, completions, scores = zip(*ordered, strict=True)
        self.history.append(
            Answers(step=state.global_step, prompts=prompts, completions=completions, scores=scores)
        )
        return {SCORE: self.history[-1].score}

    def _answered(
        self, trainer: EntropyGRPOTrainer, model: Any, mine: range
    ) -> list[tuple[str, str, float | None]]:
        """Prompt, completion and score of the rows with these numbers."""
        answered = []
        for start in range(0, len(mine), self._batch_size):
            rows = [self._rows[i] for i in mine[start : start + self._batch_size]]
            prompts = [prompt_with_pictures(row) for row in rows]
            ids = greedy(trainer, model, prompts, self._length)
            tokenizer: Any = trainer.processing_class
            completions = tokenizer.batch_decode(ids, skip_special_tokens=True)
            columns = {name: [row[name] for row in rows] for name in rows[0] if name != "prompt"}
            scores = self._reward(
                prompts=prompts, completions=completions, completion_ids=ids, **columns
            )
            answered += zip(map(prompt_text, prompts), completions, scores, strict=True)
        return answered


def greedy(
    trainer: EntropyGRPOTrainer, model: Any, prompts: list[Any], length: int
) -> list[list[int]]:
    """Tokens of the model's most likely completions, at most ``length`` each, up to and with the end of sequence."""
    if trainer.args.rollout_engine == "native":
        return _greedy_natively(trainer, model, _ids(trainer, prompts), length)
    encoded = _encoded(trainer, prompts).to(trainer.accelerator.device)
    was_training = model.training
    model.eval()
    with torch.no_grad(), trainer.accelerator.autocast():
        output = model.generate(
            **encoded,
            do_sample=False,
            max_new_tokens=length,
            eos_token_id=trainer.eos_token_ids,
            pad_token_id=model.generation_config.pad_token_id,
        )
    model.train(was_training)
    completions = output[:, encoded["input_ids"].shape[1] :]
    return [_up_to(row, trainer.eos_token_ids) for row in completions.tolist()]


def _ids(trainer: EntropyGRPOTrainer, prompts: list[Any]) -> list[list[int]]:
    options = trainer.args.chat_template_kwargs
    return [prompt_ids(prompt, trainer.processing_class, options) for prompt in prompts]


def _encoded(trainer: EntropyGRPOTrainer, prompts: list[Any]) -> Any:
    """What the model takes of the prompts, filled up on the left, with what it takes of their pictures."""
    reader: Any = trainer.processing_class
    if not isinstance(reader, ProcessorMixin):
        ids = {"input_ids": _ids(trainer, prompts)}
        return reader.pad(ids, padding_side="left", return_tensors="pt")
    return reader.apply_chat_template(
        prompts,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True},
        **(trainer.args.chat_template_kwargs or {}),
    )


def _greedy_natively(
    trainer: EntropyGRPOTrainer, model: Any, prompts: list[list[int]], length: int
) -> list[list[int]]:
    sampling = Sampling(
        temperature=0.0, max_new_tokens=length, eos_token_ids=tuple(trainer.eos_token_ids)
    )
    engine = RolloutEngine(
        model=model,
        sampling=sampling,
        max_live=trainer.args.max_live_sequences,
    )
    with trainer.accelerator.autocast():
        completions = engine.generate(prompts, seed=0).completions
    return [completion.token_ids.tolist() for completion in completions]


def _up_to(ids: list[int], ends: list[int]) -> list[int]:
    first = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    return ids[: first + 1]
