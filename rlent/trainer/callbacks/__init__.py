"""What happens around a step: progress, the metrics file, interruption, evaluation."""

from rlent.trainer.callbacks.evaluation import EvaluationCallback
from rlent.trainer.callbacks.health import HealthCallback
from rlent.trainer.callbacks.held_out import HeldOutCallback
from rlent.trainer.callbacks.interrupt import InterruptCallback
from rlent.trainer.callbacks.metrics import MetricsCallback
from rlent.trainer.callbacks.progress import ProgressCallback
from rlent.trainer.callbacks.trackers import shield_trackers
from rlent.trainer.callbacks.wandb_tracker import WandbTracker

__all__ = [
    "EvaluationCallback",
    "HealthCallback",
    "HeldOutCallback",
    "InterruptCallback",
    "MetricsCallback",
    "ProgressCallback",
    "WandbTracker",
    "shield_trackers",
]
