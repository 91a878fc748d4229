"""A task and a language model so small that hundreds of steps of reinforcement learning take minutes on a CPU."""

from rlent.small.task import OPERATIONS, Question, draw_question, work
from rlent.small.tokenizer import small_tokenizer
from rlent.small.warm_start import STEPS, write_small_model

__all__ = [
    "OPERATIONS",
    "STEPS",
    "Question",
    "draw_question",
    "small_tokenizer",
    "work",
    "write_small_model",
]
