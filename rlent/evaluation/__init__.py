"""How well a model answers sets of problems.

``ProblemSet`` says what is asked and how, ``Answerer`` answers a chunk of it, ``set_result`` computes the numbers that
``estimators`` defines. ``store_share`` keeps finished chunks on disk, ``answer_share`` keeps answers in memory.
"""

from rlent.evaluation.answering import Answerer
from rlent.evaluation.answers import Answer, in_order, read_answers, write_answers
from rlent.evaluation.budgets import at_budgets, set_name, write_curves
from rlent.evaluation.estimators import Interval, avg_at_k, bootstrap, maj_at_k, pass_at_k
from rlent.evaluation.problems import Chunk, ProblemSet
from rlent.evaluation.results import ProblemResult, SetResult, TextStatistics, set_result
from rlent.evaluation.run import answer_share, store_share
from rlent.evaluation.selection import RankedProblem, by_pass_variance
from rlent.evaluation.store import SetStore, write_problems, write_summary
from rlent.evaluation.table import result_table

__all__ = [
    "Answer",
    "Answerer",
    "Chunk",
    "Interval",
    "ProblemResult",
    "ProblemSet",
    "RankedProblem",
    "SetResult",
    "SetStore",
    "TextStatistics",
    "answer_share",
    "at_budgets",
    "avg_at_k",
    "bootstrap",
    "by_pass_variance",
    "in_order",
    "maj_at_k",
    "pass_at_k",
    "read_answers",
    "result_table",
    "set_name",
    "set_result",
    "store_share",
    "write_answers",
    "write_curves",
    "write_problems",
    "write_summary",
]
