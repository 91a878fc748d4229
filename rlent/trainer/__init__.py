"""The trainer over TRL: the only folder that imports trl and the transformers Trainer."""

from rlent.trainer.config import EntropyGRPOConfig
from rlent.trainer.trainer import EntropyGRPOTrainer

__all__ = ["EntropyGRPOConfig", "EntropyGRPOTrainer"]
