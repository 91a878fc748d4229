"""``rlent next-tokens``: a text corpus as next-token tasks, in the order of a curriculum."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rlent.data import load_tokenizer, resolve_model
from rlent.data.next_tokens import Curriculum, draw_tasks
from rlent.data.records import json_line_records
from rlent.errors import ConfigError
from rlent.rollout.truncation import nats

_BROKEN = "\ufffd"
"""In the text of a token that holds a part of a character."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusToken:
    """A token of the corpus that can be asked for."""

    prefix: str
    """The text before it, from the beginning of its window."""
    text: str
    entropy: float
    """Of the model's distribution after the prefix, in nats."""


def next_tokens(
    file: Path,
    output: Path,
    curriculum: Curriculum,
    *,
    model: str,
    column: str,
    window: int,
    steps: int,
    prompts: int,
    seed: int,
) -> int:
    """Write ``steps * prompts`` rows with ``prefix``, ``answer``, ``budget``, ``tier``, ``entropy`` and ``step``.

    Args:
        model: whose entropies part the tiers.
        column: of the corpus, which holds the text.
        window: tokens of a document that are run through the model at once, and that a prefix has at most.

    Raises:
        ConfigError: a number is too small, a row has no text, the corpus is too small, or the file to write exists.
    """
    for name, value, least in (("steps", steps, 1), ("prompts", prompts, 1), ("window", window, 2)):
        if value < least:
            raise ConfigError(f"must be at least {least}", key=f"--{name}", given=value)
    if output.exists():
        raise ConfigError("the file exists", key="--output", given=str(output))
    texts = list(_texts(file, column))
    from transformers import AutoModelForCausalLM

    resolved = resolve_model(model)
    tokenizer: Any = load_tokenizer(resolved, None, None)
    policy: Any = AutoModelForCausalLM.from_pretrained(resolved)
    policy.to(torch.accelerator.current_accelerator() or "cpu")
    tokens = [token for text in texts for token in score_text(policy, tokenizer, text, window)]
    try:
        draws = draw_tasks(
            [token.entropy for token in tokens], curriculum, steps=steps, prompts=prompts, seed=seed
        )
    except ValueError as error:
        raise ConfigError(str(error), given=str(file), where="command line") from error
    lines = []
    for draw in draws:
        token = tokens[draw.token]
        row = {
            "prefix": token.prefix,
            "answer": token.text,
            "budget": draw.budget,
            "tier": draw.tier,
            "entropy": token.entropy,
            "step": draw.step,
        }
        lines.append(json.dumps(row, ensure_ascii=False))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    print(f"{len(tokens)} tokens of {len(texts)} documents can be asked for")
    print(f"Wrote {len(lines)} tasks to {output}")
    return 0


def score_text(model: Any, tokenizer: Any, text: str, window: int) -> list[CorpusToken]:
    """The tokens of a text that can be asked for: not a window's first, neither blank nor a part of a character."""
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    parts = (ids[start : start + window] for start in range(0, len(ids), window))
    return [token for part in parts for token in _scored(model, tokenizer, part)]


def _scored(model: Any, tokenizer: Any, ids: Sequence[int]) -> Iterator[CorpusToken]:
    if len(ids) < 2:
        return
    with torch.no_grad():
        logits = model(torch.tensor([ids], device=model.device)).logits[0, :-1].float()
    log_probs = logits.log_softmax(-1)
    entropies = nats(log_probs.exp(), log_probs).tolist()
    for place, entropy in enumerate(entropies, start=1):
        text = tokenizer.decode([ids[place]])
        if text.strip() and _BROKEN not in text:
            prefix = tokenizer.decode(ids[:place])
            yield CorpusToken(prefix=prefix, text=text, entropy=entropy)


def _texts(file: Path, column: str) -> Iterator[str]:
    if not file.is_file():
        raise ConfigError("the file does not exist", given=str(file), where="command line")
    for record in json_line_records(file):
        where = f"{file}:{record.line}"
        if record.row is None:
            raise ConfigError(record.reason, where=where)
        text = record.row.get(column)
        if not isinstance(text, str):
            raise ConfigError(f"column {column!r} must hold a text", where=where, given=text)
        yield text
