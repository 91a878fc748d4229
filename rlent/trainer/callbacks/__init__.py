"""What happens around a step: progress, the metrics file, interruption, held-out evaluation."""

from rlent.trainer.callbacks.held_out import HeldOutCallback
from rlent.trainer.callbacks.interrupt import InterruptCallback
from rlent.trainer.callbacks.metrics import MetricsCallback
from rlent.trainer.callbacks.progress import ProgressCallback

__all__ = ["HeldOutCallback", "InterruptCallback", "MetricsCallback", "ProgressCallback"]
