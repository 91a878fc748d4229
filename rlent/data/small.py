"""The small task and its model (``rlent.small``), as a recipe names them."""

import hashlib
import itertools
import logging
import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rlent.small
from rlent.data.cache import check_complete, model_folder, written_whole
from rlent.data.pool import different_questions
from rlent.errors import ConfigError
from rlent.small import OPERATIONS, STEPS, Question, draw_question, write_small_model
from rlent.small.preferences import draw_preference

if TYPE_CHECKING:
    from datasets import Dataset

MODEL = "small-arithmetic"
TASK = "small/arithmetic"
PREFERENCES = "small/preferences"
TASKS = (TASK, PREFERENCES)
MADE_BY = ("__init__", "task", "tokenizer", "warm_start")
"""Modules of ``rlent.small`` that the model follows from."""
DEFAULTS = {"operations": 4}
"""Options of the task: how many operations a question has."""

log = logging.getLogger(__name__)


def small_model(name: str = MODEL, cache_dir: Path | None = None, *, steps: int = STEPS) -> Path:
    """Folder of the warm-started model in the cache, trained at the first call.

    The folder's name holds a hash of the code that the model follows from: after a change of the
    task or of its training the next call makes another model.
    """
    folder = model_folder(f"{name}-{_code_hash()}", cache_dir)
    if not folder.exists():
        log.warning("Training %s once, in a minute or two, into %s", name, folder)
        with written_whole(folder) as whole:
            write_small_model(whole, steps=steps)
    return check_complete(folder, name)


def generate(name: str, options: Mapping[str, Any], *, count: int, seed: int) -> "Dataset":
    """`count` rows with different questions. Columns: `question`, `answer`, of preferences also `chosen`, `rejected`.

    Raises ConfigError for unknown options, and when there are too few questions.
    """
    operations = _operations(name, options)
    rng = random.Random(seed)
    questions = (draw_question(rng, operations) for _ in itertools.count())
    rows = (_row(name, each, rng) for each in questions)
    return different_questions(name, rows, count)


def _row(name: str, question: Question, rng: random.Random) -> dict[str, str]:
    row = {"question": question.text, "answer": str(question.answer)}
    if name == TASK:
        return row
    chosen, rejected = draw_preference(question, rng)
    # The text of an answer stands right behind the prompt's, and words are separated by single spaces.
    return {**row, "chosen": f" {chosen}", "rejected": f" {rejected}"}


def _operations(name: str, options: Mapping[str, Any]) -> int:
    for option in options:
        if option not in DEFAULTS:
            raise ConfigError(
                f"'{name}' has no option '{option}'",
                key=f"data.options.{option}",
                expected=", ".join(DEFAULTS),
                given=option,
                choices=DEFAULTS,
            )
    operations = {**DEFAULTS, **options}["operations"]
    if not isinstance(operations, int) or operations not in OPERATIONS:
        raise ConfigError(
            f"'{MODEL}' knows no questions with that many operations",
            key="data.options.operations",
            expected=f"{OPERATIONS.start} to {OPERATIONS.stop - 1}",
            given=operations,
        )
    return operations


def _code_hash() -> str:
    folder = Path(rlent.small.__path__[0])
    code = [folder / f"{module}.py" for module in MADE_BY]
    return hashlib.sha256(b"".join(path.read_bytes() for path in code)).hexdigest()[:8]
