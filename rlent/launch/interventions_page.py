"""``rlent interventions --markdown``: the page ``docs/interventions.md``, made from the interventions themselves."""

import ast
import inspect
import json
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any

from rlent.errors import ConfigError
from rlent.interventions import NEEDS, TABLE, Intervention, chain, implemented_stages
from rlent.losses import TABLE as LOSSES
from rlent.losses import Loss
from rlent.rollout.decoding import TABLE as DECODING
from rlent.rollout.decoding import DecodingRule
from rlent.rollout.forking import TABLE as FORKING
from rlent.surrogates import SURROGATES, Surrogate

HEAD = """# Interventions

Everything that a recipe can list under `interventions`, and behind it what it can name as a surrogate, a loss over
given answers, a decoding rule or a forking rule. Made by `rlent interventions --markdown` from the files of their
tables, whose docstrings say what was read, what is second-hand and where paper and code differ.
"""

COMPOSITION = """## Which compose

Rows are listed before columns, both with default settings. An empty cell composes. `again`: an intervention is listed
once. `replaces`: the column would overwrite what the row has written. `changes`: the column would change what the row
has already read; list it before the row. Where the other order is free, use that one.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Others:
    """Another table than that of the interventions."""

    title: str
    key: str
    """Where a recipe names an entry, and the page on all of them."""
    table: dict[str, type[Any]]
    said: Callable[[Any], str]
    """The line on an entry between its first sentence and its options; empty for none."""


def _of_surrogate(cls: type[Surrogate]) -> str:
    return f"Reads: {_names(sorted(cls.reads))}."


def _of_loss(cls: type[Loss]) -> str:
    return f"Over {cls.reads}."


def _of_decoding(cls: type[DecodingRule]) -> str:
    return f"In training: {_yes(cls.trains)}. In evaluations: {_yes(cls.evaluates)}."


OTHERS = (
    _Others(
        title="Surrogates",
        key="`trainer.surrogate`, [surrogates.md](surrogates.md)",
        table=dict(SURROGATES),
        said=_of_surrogate,
    ),
    _Others(
        title="Losses over given answers",
        key="`loss`, [supervised.md](supervised.md)",
        table=dict(LOSSES),
        said=_of_loss,
    ),
    _Others(
        title="Decoding rules",
        key="`rollout.decoding` and `evaluation.decoding`, [decoding.md](decoding.md)",
        table=dict(DECODING),
        said=_of_decoding,
    ),
    _Others(
        title="Forking rules",
        key="`rollout.branching`, [decoding.md](decoding.md)",
        table=dict(FORKING),
        said=lambda _: "",
    ),
)


def page() -> str:
    """The whole page."""
    parts = [
        HEAD,
        *(_section(cls) for cls in TABLE.values()),
        COMPOSITION,
        _composition(),
        _needs(),
        *(part for others in OTHERS for part in _others(others)),
    ]
    return "\n".join(parts)


def _section(cls: type[Intervention]) -> str:
    default = cls()
    said = (
        f"Stages: {_names(implemented_stages(default))}. Needs: {_names(sorted(default.needs))}. "
        f"Writes: {_names(sorted(cls.writes))}."
    )
    return _entry("##", cls, said)


def _others(others: _Others) -> Iterator[str]:
    yield f"## {others.title}\n\nUnder {others.key}.\n"
    for cls in others.table.values():
        yield _entry("###", cls, others.said(cls))


def _entry(level: str, cls: Any, said: str) -> str:
    lines = [
        f"{level} {cls.name}",
        "",
        f"{inspect.cleandoc(cls.__doc__).splitlines()[0]} {cls.paper}.",
        "",
    ]
    lines += [said, ""] if said else []
    options = fields(cls)
    if options:
        documented = _field_docs(cls)
        lines += ["| option | default | |", "|---|---|---|"]
        lines += [
            f"| `{each.name}` | {_default(each)} | {documented[each.name]} |" for each in options
        ]
        lines += [""]
    return "\n".join(lines)


def _default(field: Field[Any]) -> str:
    if field.default is MISSING:
        return "required"
    value = field.default
    plain = isinstance(value, str) and value.isprintable()
    return f"`{value if plain else json.dumps(value)}`"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _field_docs(cls: type) -> dict[str, str]:
    """The text under each field of a dataclass and of those that it derives from, in one line."""
    derived = [base for base in reversed(cls.__mro__) if is_dataclass(base)]
    return {name: text for base in derived for name, text in _own_field_docs(base).items()}


def _own_field_docs(cls: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            docs[field.target.id] = " ".join(str(text.value.value).split()).replace("|", "\\|")
    return docs


def _names(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing"


def _composition() -> str:
    lines = [
        "| before \\ after | " + " | ".join(TABLE) + " |",
        "|---|" + "---|" * len(TABLE),
    ]
    for first in TABLE.values():
        cells = [_verdict(first(), second()) for second in TABLE.values()]
        lines.append(f"| **{first.name}** | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _verdict(first: Intervention, second: Intervention) -> str:
    try:
        chain([first, second])
    except ConfigError as error:
        words = ("again" if first.name == second.name else "", "replaces", "changes")
        return next(word for word in words if word and (word == "again" or word in error.problem))
    return ""


def _needs() -> str:
    lines = ["## Needs", "", *(f"* `{name}`: {meaning}" for name, meaning in NEEDS.items())]
    return "\n".join([*lines, ""])
