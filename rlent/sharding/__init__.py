"""Training over many processes: DeepSpeed's configuration, the process group, and weights that are in parts."""

from rlent.sharding.deepspeed_config import deepspeed_config
from rlent.sharding.gathering import gathered
from rlent.sharding.gradient_norm import guard_plain_step
from rlent.sharding.processes import accelerator_config, any_rank, from_the_first, join_processes

__all__ = [
    "accelerator_config",
    "any_rank",
    "deepspeed_config",
    "from_the_first",
    "gathered",
    "guard_plain_step",
    "join_processes",
]
