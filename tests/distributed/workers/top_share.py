"""Each rank ranks its rows of one fixed matrix together with the others."""

import json
import math
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from rlent.numerics import top_share
from rlent.reduce import distributed

dist.init_process_group("gloo")
rank, ranks = dist.get_rank(), dist.get_world_size()
generator = torch.Generator().manual_seed(0)
values = torch.randint(
    0, 9, (7, 50), generator=generator
).float()  # few values, so ties cross ranks
mask = torch.rand(7, 50, generator=generator) < 0.8
mine = torch.arange(7).tensor_split(ranks)[rank]
chosen = top_share(values[mine], mask[mine], 0.2, distributed())
Path(sys.argv[1], f"rank-{rank}.json").write_text(
    json.dumps({"chosen": chosen.int().tolist(), "expected": math.ceil(0.2 * int(mask.sum()))})
)
dist.destroy_process_group()
