"""TRL's own trainer takes the rewards as they are."""

from pathlib import Path
from typing import Any

import pytest

from rlent_rewards import REWARDS, MathAnswer, Overlong
from tests.rewards.examples import make


@pytest.mark.slow
@pytest.mark.parametrize("name", REWARDS)
def test_trl_logs_a_reward_under_its_name_and_calls_it_directly(name: str) -> None:
    from trl.trainer.utils import get_callable_name, is_async_callable

    reward = make(name)
    assert get_callable_name(reward) == name
    assert not is_async_callable(reward)


@pytest.mark.slow
def test_trls_trainer_trains_with_them_and_logs_their_parts(
    tiny_folder: Path, tmp_path: Path
) -> None:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    rows = [{"prompt": f"{a} + {a} =", "answer": str(2 * a)} for a in range(4)]
    options: dict[str, Any] = {
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 8,
    }
    trainer = GRPOTrainer(
        str(tiny_folder),
        [MathAnswer(extract="last_number"), Overlong(max_length=4, cache=2)],
        GRPOConfig(
            str(tmp_path),
            use_cpu=True,
            bf16=False,
            report_to=[],
            save_strategy="no",
            max_steps=1,
            logging_steps=1,
            **options,
        ),
        train_dataset=Dataset.from_list(rows),
    )
    trainer.train()
    logged = trainer.state.log_history[0]
    assert 0 <= logged["rewards/math_answer/mean"] <= 1
    assert -1 <= logged["rewards/overlong/mean"] < 0
    assert logged["rewards/math_answer/timeouts"] == 0
