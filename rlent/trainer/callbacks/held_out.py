"""Held-out problems, answered greedily before, during and after training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import gather_object
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rlent.data import prompt_ids, prompt_text
from rlent.rollout import RolloutEngine, Sampling
from rlent.trainer.trainer import EntropyGRPOTrainer

SCORE = "held_out/score"
"""Metric: mean reward of the greedy completions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """Greedy completions of the held-out problems and their rewards, in the order of the problems."""

    step: int
    prompts: tuple[str, ...]
    completions: tuple[str, ...]
    scores: tuple[float, ...]

    @property
    def score(self) -> float:
        return sum(self.scores) / len(self.scores)


class HeldOutCallback(TrainerCallback):
    """Scores the problems before the first step, every ``every`` steps, and after the last.

    The mean reward is logged as ``held_out/score``. Every rank answers its share of the problems.

    Args:
        rows: problems with ``prompt`` and the columns that the reward reads.
        reward: a reward function as TRL takes it.
        every: optimiser steps between evaluations; 0 only before and after.
    """

    def __init__(
        self,
        rows: Sequence[dict[str, Any]],
        reward: Any,
        *,
        every: int,
        batch_size: int,
        length: int,
    ) -> None:
        self._rows = list(rows)
        self._reward = reward
        self._every = every
        self._batch_size = batch_size
        self._length = length
        self.history: list[Answers] = []
        self.trainer: EntropyGRPOTrainer | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.global_step == 0:
            score = self._evaluate(state)
            assert self.trainer is not None
            self.trainer.log({SCORE: score})

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        last = state.global_step == state.max_steps
        if last or (self._every and state.global_step % self._every == 0):
            score = self._evaluate(state)
            assert self.trainer is not None
            self.trainer.record_metrics({SCORE: score})
            control.should_log = True

    def _evaluate(self, state: TrainerState) -> float:
        trainer = self.trainer
        assert trainer is not None
        rank, ranks = trainer.accelerator.process_index, trainer.accelerator.num_processes
        mine = self._rows[rank::ranks]
        answered = []
        for start in range(0, len(mine), self._batch_size):
            rows = mine[start : start + self._batch_size]
            prompts = [row["prompt"] for row in rows]
            ids = greedy(trainer, prompts, self._length)
            tokenizer: Any = trainer.processing_class
            completions = tokenizer.batch_decode(ids, skip_special_tokens=True)
            columns = {name: [row[name] for row in rows] for name in rows[0] if name != "prompt"}
            scores = self._reward(
                prompts=prompts, completions=completions, completion_ids=ids, **columns
            )
            answered += zip(map(prompt_text, prompts), completions, scores, strict=True)
        shares = gather_object([answered])
        ordered = [shares[i % ranks][i // ranks] for i in range(len(self._rows))]
        prompts, completions, scores = zip(*ordered, strict=True)
        self.history.append(
            Answers(step=state.global_step, prompts=prompts, completions=completions, scores=scores)
        )
        return self.history[-1].score


def greedy(trainer: EntropyGRPOTrainer, prompts: list[Any], length: int) -> list[list[int]]:
    """Tokens of the model's most likely completions, at most ``length`` each, up to and with the end of sequence."""
    tokenizer: Any = trainer.processing_class
    ids = [prompt_ids(prompt, tokenizer) for prompt in prompts]
    if trainer.args.rollout_engine == "native":
        return _greedy_natively(trainer, ids, length)
    encoded = tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt")
    encoded = encoded.to(trainer.accelerator.device)
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    was_training = model.training
    model.eval()
    with torch.no_grad(), trainer.accelerator.autocast():
        output = model.generate(
            **encoded,
            do_sample=False,
            max_new_tokens=length,
            eos_token_id=trainer.eos_token_ids,
            pad_token_id=tokenizer.pad_token_id,
        )
    model.train(was_training)
    completions = output[:, encoded["input_ids"].shape[1] :]
    return [_up_to(row, trainer.eos_token_ids) for row in completions.tolist()]


def _greedy_natively(
    trainer: EntropyGRPOTrainer, prompts: list[list[int]], length: int
) -> list[list[int]]:
    sampling = Sampling(
        temperature=0.0, max_new_tokens=length, eos_token_ids=tuple(trainer.eos_token_ids)
    )
    engine = RolloutEngine(
        model=trainer.accelerator.unwrap_model(trainer.model),
        sampling=sampling,
        max_live=trainer.args.max_live_sequences,
    )
    with trainer.accelerator.autocast():
        completions = engine.generate(prompts, seed=0).completions
    return [completion.token_ids.tolist() for completion in completions]


def _up_to(ids: list[int], ends: list[int]) -> list[int]:
    first = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    return ids[: first + 1]
