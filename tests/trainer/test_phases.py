"""Where the time of a step goes, and how many tokens it took."""

from pathlib import Path

import pytest

from rlent.trainer import EntropyGRPOTrainer
from rlent.trainer.phases import PhaseClock
from tests.trainer.helpers import make_trainer


class Ticks:
    """A clock that shows what it is set to."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def test_a_phase_inside_another_one_stops_its_clock() -> None:
    ticks = Ticks()
    clock = PhaseClock(ticks)
    with clock.phase("update"):
        ticks.at = 1.0
        with clock.phase("rollout"):
            ticks.at = 3.0
            with clock.phase("rewards"):
                ticks.at = 7.0
            ticks.at = 7.5
        ticks.at = 8.0
    ticks.at = 100.0
    assert clock.take() == {"update": 1.5, "rollout": 2.5, "rewards": 4.0}
    with clock.phase("update"):
        ticks.at = 101.0
    assert clock.take() == {"update": 1.0, "rollout": 0.0, "rewards": 0.0}


def test_the_clock_goes_on_after_an_exception() -> None:
    ticks = Ticks()
    clock = PhaseClock(ticks)

    def fail() -> None:
        with clock.phase("rewards"):
            ticks.at = 2.0
            raise KeyError

    with clock.phase("update"):
        with pytest.raises(KeyError):
            fail()
        ticks.at = 5.0
    assert clock.take() == {"rewards": 2.0, "update": 3.0}


def test_phases_of_real_steps_add_up_and_every_token_is_counted(
    tiny_folder: Path, tmp_path: Path
) -> None:
    trainer = make_trainer(
        EntropyGRPOTrainer, tiny_folder, tmp_path, max_steps=4, steps_per_generation=2
    )
    trainer.train()
    steps = [row for row in trainer.state.log_history if "step_time" in row]
    assert len(steps) == 4
    for row in steps:
        parts = [row[f"time/{name}"] for name in ("rollout", "rewards", "update")]
        assert all(seconds >= 0 for seconds in parts)
        assert sum(parts) == pytest.approx(row["step_time"], abs=0.02)
    assert steps[0]["time/rollout"] > 0
    assert steps[1]["time/rollout"] == 0  # its rollouts are those of the first step
    assert steps[1]["tokens/generated"] == 0
    lengths = [row["completions/mean_length"] for row in steps if row["tokens/generated"]]
    assert [row["tokens/generated"] for row in steps[::2]] == pytest.approx(
        [16 * length for length in lengths]
    )
