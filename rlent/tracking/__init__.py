"""What a run leaves behind: ``metrics.jsonl`` always, rollouts as Parquet, Weights & Biases when asked."""

from rlent.tracking.metrics_file import MetricsFile, read_metrics
from rlent.tracking.rollouts import (
    RolloutLog,
    read_batches,
    read_rollouts,
    read_tables,
    write_batch,
)

__all__ = [
    "MetricsFile",
    "RolloutLog",
    "read_batches",
    "read_metrics",
    "read_rollouts",
    "read_tables",
    "write_batch",
]
