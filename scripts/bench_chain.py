"""What the interventions cost in a training step of the quickstart.

    python scripts/bench_chain.py [STEPS]

One run, A B A B: each optimiser step is computed twice on the same rollouts, with the chain of the four ideas and with
an empty one, and the medians are compared. ``stages`` is the time inside the interventions' own functions, measured in
the same run. Entropies of the generating policy are scored in both (both have several updates per generation batch, for
which TRL scores anyway); the gradient of the entropy, which entropy_band asks of the head, is part of A alone.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlent.config import load_recipe
from rlent.interventions import Chain, chain
from rlent.launch.prepare import prepare
from rlent.trainer import EntropyGRPOTrainer

ROOT = Path(__file__).parent.parent
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
    return EntropyGRPOTrainer(
        prepared.model,
        [reward.function for reward in recipe.rewards],
        prepared.args,
        train_dataset=prepared.train,
        processing_class=prepared.tokenizer,
        interventions=FOUR,
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


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(folder)
        trainer.model.train()
        clock = Clock()
        four, none = TimedChain(trainer.chain, clock), chain([])
        rows: Any = iter(trainer.get_train_dataloader())
        with_four, without, generation, in_generation, in_update = [], [], [], [], []
        for _ in range(steps):
            trainer.chain = four  # type: ignore[assignment]
            clock.seconds, trainer._step = 0.0, 0
            start = time.perf_counter()
            trainer._prepare_inputs(next(rows))
            generation.append(time.perf_counter() - start)
            in_generation.append(clock.seconds)
            batches: Any = trainer._buffered_inputs
            for _ in range(2):
                clock.seconds = 0.0
                with_four.append(update(trainer, batches))
                in_update.append(clock.seconds)
                trainer.chain = none
                without.append(update(trainer, batches))
                trainer.chain = four  # type: ignore[assignment]
    report(with_four, without, generation, in_generation, in_update)


def report(
    with_four: list[float],
    without: list[float],
    generation: list[float],
    in_generation: list[float],
    in_update: list[float],
) -> None:
    median = statistics.median
    step = median(generation) + 2 * median(with_four)  # two updates per generation batch
    stages = median(in_generation) + 2 * median(in_update)
    print(f"generation batch       {median(generation):8.3f} s")
    print(f"update, four ideas (A) {median(with_four):8.3f} s")
    print(
        f"update, none       (B) {median(without):8.3f} s    A / B {median(with_four) / median(without):.3f}"
    )
    print(
        f"stages                 {stages * 1000:8.1f} ms = {100 * stages / step:.2f}% of a step of {step:.2f} s"
    )


if __name__ == "__main__":
    main()
