import pytest

from rlent_rewards import REWARDS
from tests.rewards.examples import make


@pytest.mark.slow
@pytest.mark.parametrize("name", REWARDS)
def test_trl_logs_a_reward_under_its_name_and_calls_it_directly(name: str) -> None:
    from trl.trainer.utils import get_callable_name, is_async_callable

    reward = make(name)
    assert get_callable_name(reward) == name
    assert not is_async_callable(reward)
