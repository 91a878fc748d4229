"""What the interventions and the bookkeeping cost in a training step of the quickstart.

Each optimiser step is computed twice on the same rollouts, A B A B, with the chain of the four ideas and with an empty
one, and the medians are compared. ``stages`` is the time inside the interventions' own functions, ``bookkeeping`` that
of everything else that rlent adds to TRL's step around model and head: counting, arranging micro-batches, signals,
objective, metrics, the rollout log. Both are measured in the same run. The gradient of the entropy, which entropy_band
asks of the head, is part of A alone.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlent.config import load_recipe
from rlent.interventions import Chain, chain
from rlent.launch.prepare import prepare
from rlent.tracking import RolloutLog
from rlent.trainer import EntropyGRPOTrainer, generation

ROOT = Path(__file__).parent.parent.parent
BOOKKEEPING = (
    "_counted",
    "_account_for",
    "_signal",
    "objective",
    "record_metrics",
    "_record_token_metrics",
    "_advance_controllers",
)
"""Methods of the trainer; none of them calls the model."""
STAGES = ("on_rewards", "on_filter", "on_advantages", "on_select", "on_tokens", "on_step")
FOUR = [
    {"entropy_weighted_reward": {}},
    {"forking_tokens": {"fraction": 0.2}},
    {"clip_preserve": {}},
    {"entropy_band": {}},
]


@dataclass
class Clock:
    seconds: float = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self.seconds += time.perf_counter() - start
            return result

        return timed


class TimedChain:
    """A chain whose stages run under a clock."""

    def __init__(self, links: Chain, clock: Clock) -> None:
        self._links = links
        for stage in STAGES:
            setattr(self, stage, clock.around(getattr(links, stage)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._links, name)


def make_trainer(folder: str) -> EntropyGRPOTrainer:
    overrides = ["trainer.num_iterations=2", "evaluation=null", "tracking.rollouts=false"]
    recipe = load_recipe(ROOT / "recipes" / "quickstart.yaml", overrides)
    prepared = prepare(recipe, Path(folder))
    log = RolloutLog(Path(folder) / "rollouts", prepared.tokenizer, ["math_answer"])
    return EntropyGRPOTrainer(
        prepared.model,
        [reward.function for reward in recipe.rewards],
        prepared.args,
        train_dataset=prepared.train,
        processing_class=prepared.tokenizer,
        interventions=FOUR,
        rollout_log=log,
    )


def update(trainer: EntropyGRPOTrainer, batches: list[dict[str, Any]]) -> float:
    """Seconds for the forward and backward passes of one optimiser step."""
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = len(batches)
    start = time.perf_counter()
    for batch in batches:
        with trainer.accelerator.autocast():
            loss = trainer._compute_loss(trainer.model, batch)
        loss.backward()
    return time.perf_counter() - start


def clock_bookkeeping(trainer: Any, clock: Clock) -> None:
    """Run the trainer's bookkeeping under a clock; nested calls count once."""
    inside = [0]

    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        timed = clock.around(function)

        def counted(*args: Any, **kwargs: Any) -> Any:
            inside[0] += 1
            try:
                return (timed if inside[0] == 1 else function)(*args, **kwargs)
            finally:
                inside[0] -= 1

        return counted

    for name in BOOKKEEPING:
        setattr(trainer, name, around(getattr(trainer, name)))
    for name in ("start", "record", "flush"):
        setattr(trainer.rollout_log, name, around(getattr(trainer.rollout_log, name)))
    generation.arrange = around(generation.arrange)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="bench.py chain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--steps", type=int, default=3, help="generation batches, each with two updates"
    )
    steps = parser.parse_args(arguments).steps
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(folder)
        trainer.model.train()
        clock, books = Clock(), Clock()
        clock_bookkeeping(trainer, books)
        four, none = TimedChain(trainer.chain, clock), chain([])
        rows: Any = iter(trainer.get_train_dataloader())
        with_four, without, making, in_making, in_update = [], [], [], [], []
        book_seconds = {"generation": 0.0, "four": 0.0, "none": 0.0}
        for _ in range(steps):
            trainer.chain = four  # type: ignore[assignment]
            clock.seconds, books.seconds, trainer._step = 0.0, 0.0, 0
            start = time.perf_counter()
            trainer._prepare_inputs(next(rows))
            making.append(time.perf_counter() - start)
            in_making.append(clock.seconds)
            book_seconds["generation"] += books.seconds
            batches: Any = trainer._buffered_inputs
            for _ in range(2):
                clock.seconds, books.seconds = 0.0, 0.0
                with_four.append(update(trainer, batches))
                in_update.append(clock.seconds)
                book_seconds["four"] += books.seconds
                trainer.chain, books.seconds = none, 0.0
                without.append(update(trainer, batches))
                book_seconds["none"] += books.seconds
                trainer.chain = four  # type: ignore[assignment]
    report(with_four, without, making, in_making, in_update)
    empty = sum(making) + sum(without)
    spent = book_seconds["generation"] + book_seconds["none"]
    print(
        f"bookkeeping            {1000 * spent / steps:8.1f} ms = {100 * spent / empty:.2f}% of a step "
        "without interventions"
    )


def report(
    with_four: list[float],
    without: list[float],
    making: list[float],
    in_making: list[float],
    in_update: list[float],
) -> None:
    median = statistics.median
    step = median(making) + 2 * median(with_four)  # two updates per generation batch
    stages = median(in_making) + 2 * median(in_update)
    print(f"generation batch       {median(making):8.3f} s")
    print(f"update, four ideas (A) {median(with_four):8.3f} s")
    print(
        f"update, none       (B) {median(without):8.3f} s    A / B {median(with_four) / median(without):.3f}"
    )
    print(
        f"stages                 {stages * 1000:8.1f} ms = {100 * stages / step:.2f}% of a step of {step:.2f} s"
    )
