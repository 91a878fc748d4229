"""What a run leaves behind: ``metrics.jsonl`` always, rollouts as Parquet, Weights & Biases when asked."""

from rlent.tracking.metrics_file import MetricsFile, read_metrics
from rlent.tracking.rollouts import RolloutLog, read_rollouts, read_tables

__all__ = ["MetricsFile", "RolloutLog", "read_metrics", "read_rollouts", "read_tables"]
