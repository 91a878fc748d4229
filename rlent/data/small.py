"""The small task and its model (``rlent.small``), as a recipe names them."""

import hashlib
import itertools
import logging
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rlent.small
from rlent.data.cache import check_complete, model_folder, written_whole
from rlent.data.next_tokens import Curriculum, draw_tasks
from rlent.data.pool import different_questions
from rlent.errors import ConfigError
from rlent.small import OPERATIONS, STEPS, Question, draw_question, work, write_small_model
from rlent.small.next_words import word_entropies
from rlent.small.preferences import draw_preference

if TYPE_CHECKING:
    from datasets import Dataset

MODEL = "small-arithmetic"
TASK = "small/arithmetic"
PREFERENCES = "small/preferences"
NEXT_TOKENS = "small/next_tokens"
TASKS = (TASK, PREFERENCES, NEXT_TOKENS)
MADE_BY = ("__init__", "task", "tokenizer", "warm_start")
"""Modules of ``rlent.small`` that the model follows from."""
DEFAULTS = {"operations": 4}
"""Options of the task: how many operations a question has."""
CURRICULUM = {"budget": 4, "decay": 0.5}
"""Those of next-token tasks beside it, as in ``Curriculum``."""
DOCUMENTS = 1000
"""Questions with workings in the corpus that next tokens are asked of."""

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

    Of next tokens the rows are a curriculum in its order, drawn with replacement, with the columns of ``rlent
    next-tokens``; a row is a step of it. Raises ConfigError for unknown options, and when there are too few questions.
    """
    values = _checked(name, options)
    rng = random.Random(seed)
    questions = (draw_question(rng, values["operations"]) for _ in itertools.count())
    if name == NEXT_TOKENS:
        documents = list(itertools.islice(questions, DOCUMENTS))
        return _next_tokens(documents, values, rng, count=count, seed=seed)
    rows = (_row(name, each, rng) for each in questions)
    return different_questions(name, rows, count)


def _row(name: str, question: Question, rng: random.Random) -> dict[str, str]:
    row = {"question": question.text, "answer": str(question.answer)}
    if name == TASK:
        return row
    chosen, rejected = draw_preference(question, rng)
    # The text of an answer stands right behind the prompt's, and words are separated by single spaces.
    return {**row, "chosen": f" {chosen}", "rejected": f" {rejected}"}


def _next_tokens(
    documents: Sequence[Question],
    values: Mapping[str, Any],
    rng: random.Random,
    *,
    count: int,
    seed: int,
) -> "Dataset":
    from datasets import Dataset

    corpus: list[tuple[str, str, float]] = []
    for question in documents:
        working = work(question, rng)
        words = [question.text, *working.split()]
        for place, entropy in enumerate(word_entropies(question, working), start=1):
            corpus.append((" ".join(words[:place]), words[place], entropy))
    try:
        curriculum = Curriculum(**{option: values[option] for option in CURRICULUM})
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error), key="data.options") from error
    rows = []
    for draw in draw_tasks(
        [entropy for *_, entropy in corpus], curriculum, steps=count, prompts=1, seed=seed
    ):
        prefix, answer, entropy = corpus[draw.token]
        row = {"prefix": prefix, "answer": answer, "budget": draw.budget, "tier": draw.tier}
        rows.append({**row, "entropy": entropy, "step": draw.step})
    return Dataset.from_list(rows)


def _checked(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a task, those that are not given at their defaults."""
    known = {**DEFAULTS, **CURRICULUM} if name == NEXT_TOKENS else DEFAULTS
    for option in options:
        if option not in known:
            raise ConfigError(
                f"'{name}' has no option '{option}'",
                key=f"data.options.{option}",
                expected=", ".join(known),
                given=option,
                choices=known,
            )
    values = {**known, **options}
    operations = values["operations"]
    if not isinstance(operations, int) or operations not in OPERATIONS:
        raise ConfigError(
            f"'{MODEL}' knows no questions with that many operations",
            key="data.options.operations",
            expected=f"{OPERATIONS.start} to {OPERATIONS.stop - 1}",
            given=operations,
        )
    return values


def _code_hash() -> str:
    folder = Path(rlent.small.__path__[0])
    code = [folder / f"{module}.py" for module in MADE_BY]
    return hashlib.sha256(b"".join(path.read_bytes() for path in code)).hexdigest()[:8]
