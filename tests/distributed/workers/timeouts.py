"""Rank 1 never comes to a collective; how long rank 0 waits in every group: folder, engine."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from rlent.config import Engine
from rlent.sharding import join_processes

folder, section = Path(sys.argv[1]), Engine(**json.loads(sys.argv[2]))
rank = join_processes(section).process_index
groups: dict[str, Any] = {"all": None}
if section.uses_deepspeed:
    from deepspeed.utils.groups import _get_data_parallel_group

    groups["deepspeed"] = _get_data_parallel_group()
waited = {}
for name, group in groups.items() if rank == 0 else ():
    began = time.monotonic()
    try:
        dist.all_reduce(torch.ones(1), group=group)
    except RuntimeError:
        waited[name] = time.monotonic() - began
(folder / f"rank-{rank}.json").write_text(json.dumps(waited))
while not (folder / "rank-0.json").exists():
    time.sleep(0.05)
