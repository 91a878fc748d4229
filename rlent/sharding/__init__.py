"""Training over many processes: DeepSpeed's configuration, the process group, and weights that are in parts."""

from rlent.sharding.deepspeed_config import deepspeed_config
from rlent.sharding.gathering import gathered, whole_shape
from rlent.sharding.gradient_norm import guard_plain_step
from rlent.sharding.processes import (
    accelerator_config,
    any_rank,
    from_the_first,
    join_processes,
    on_all_ranks,
    stop_together,
)
from rlent.sharding.releasing import release

__all__ = [
    "accelerator_config",
    "any_rank",
    "deepspeed_config",
    "from_the_first",
    "gathered",
    "guard_plain_step",
    "join_processes",
    "on_all_ranks",
    "release",
    "stop_together",
    "whole_shape",
]
