"""How large the cache is that a tile of logits should stay in."""

import functools
from pathlib import Path

import torch

_UNKNOWN_CPU = 2**20
_UNKNOWN_ACCELERATOR = 2**25
_LINUX = Path("/sys/devices/system/cpu/cpu0/cache")


def cache_bytes(device: torch.device) -> int:
    """Bytes of level-2 cache that the threads of a CPU, or a GPU, work in.

    Where the system does not tell, 1 MiB per CPU thread and 32 MiB of an accelerator.
    """
    if device.type == "cpu":
        return _cpu_core() * torch.get_num_threads()
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).L2_cache_size
    return _UNKNOWN_ACCELERATOR


@functools.cache
def _cpu_core() -> int:
    for level in _LINUX.glob("index*/level"):
        if level.read_text().strip() == "2":
            size = level.with_name("size").read_text().strip()
            return int(size.removesuffix("K")) * 2**10
    return _UNKNOWN_CPU
