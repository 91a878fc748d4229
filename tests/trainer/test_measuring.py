"""When the model is measured during training, and held-out scores that are not there."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from rlent.errors import RlentError
from rlent.trainer.callbacks import held_out
from rlent.trainer.callbacks.at_steps import AtSteps, is_due
from rlent.trainer.callbacks.held_out import Answers


@pytest.mark.parametrize(
    ("every", "due"), [(0, [0, 7]), (1, list(range(8))), (3, [0, 3, 6, 7]), (9, [0, 7])]
)
def test_before_between_and_after(every: int, due: list[int]) -> None:
    steps = [TrainerState(global_step=step, max_steps=7) for step in range(8)]
    assert [state.global_step for state in steps if is_due(state, every)] == due


class Recorder:
    """What a trainer is told."""

    def __init__(self) -> None:
        self.logged: list[dict[str, float]] = []
        self.recorded: list[dict[str, float]] = []

    def log(self, metrics: dict[str, float]) -> None:
        self.logged.append(metrics)

    def record_metrics(self, metrics: dict[str, float]) -> None:
        self.recorded.append(metrics)


class EveryThird(AtSteps):
    def measure(self, trainer: Any, state: TrainerState) -> dict[str, float]:
        return {"step": float(state.global_step)} if is_due(state, 3) else {}


def test_metrics_are_logged_with_the_step_that_they_follow(tmp_path: Any) -> None:
    args, trainer = TrainingArguments(str(tmp_path)), Recorder()
    callback = EveryThird()
    callback.trainer = trainer  # pyright: ignore[reportAttributeAccessIssue]
    callback.on_train_begin(args, TrainerState(global_step=0, max_steps=4), TrainerControl())
    callback.on_train_begin(args, TrainerState(global_step=2, max_steps=4), TrainerControl())
    assert trainer.logged == [{"step": 0.0}]  # a resumed run has measured its start before
    controls = {step: TrainerControl() for step in range(1, 5)}
    for step, control in controls.items():
        callback.on_step_end(args, TrainerState(global_step=step, max_steps=4), control)
    assert trainer.recorded == [{"step": 3.0}, {"step": 4.0}]
    assert [step for step, control in controls.items() if control.should_log] == [3, 4]


def answers(*scores: float | None) -> Answers:
    texts = tuple(str(place) for place in range(len(scores)))
    return Answers(step=0, prompts=texts, completions=texts, scores=scores)


def test_a_score_that_is_not_there_is_in_no_mean() -> None:
    assert answers(1.0, 0.0, 0.5).score == 0.5
    assert answers(1.0, None, 0.0, math.nan).score == 0.5


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_no_score_at_all_is_an_error(nothing: float | None) -> None:
    with pytest.raises(RlentError, match="scored no held-out problem"):
        _ = answers(nothing, nothing).score


class Template:
    """A tokenizer whose chat template has an option."""

    chat_template = "there is one"

    def apply_chat_template(self, prompt: Any, *, thinks: bool = True, **_: Any) -> dict[str, Any]:
        return {"input_ids": [1, 2] if thinks else [3]}


def test_greedy_answers_read_prompts_through_the_options_of_the_template(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[list[list[int]]] = []
    monkeypatch.setattr(
        held_out, "_greedy_natively", lambda trainer, model, ids, length: seen.append(ids)
    )
    for options in (None, {"thinks": False}):
        args = SimpleNamespace(chat_template_kwargs=options, rollout_engine="native")
        trainer: Any = SimpleNamespace(processing_class=Template(), args=args)
        held_out.greedy(trainer, None, [[{"role": "user", "content": "1 + 1"}]], 5)
    assert seen == [[[1, 2]], [[3]]]
