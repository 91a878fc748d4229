"""``rlent interventions --markdown``: the page ``docs/interventions.md``, made from the interventions themselves."""

import ast
import inspect
import json
import textwrap
from dataclasses import fields, is_dataclass

from rlent.errors import ConfigError
from rlent.interventions import NEEDS, TABLE, Intervention, chain, implemented_stages

HEAD = """# Interventions

Everything that a recipe can list under `interventions`. Made by `rlent interventions --markdown` from the files of
`rlent/interventions`, whose docstrings say what was read, what is second-hand and where paper and code differ.
"""

COMPOSITION = """## Which compose

Rows are listed before columns, both with default settings. An empty cell composes. `again`: an intervention is listed
once. `replaces`: the column would overwrite what the row has written. `changes`: the column would change what the row
has already read; list it before the row. Where the other order is free, use that one.
"""


def page() -> str:
    """The whole page."""
    parts = [
        HEAD,
        *(_section(cls) for cls in TABLE.values()),
        COMPOSITION,
        _composition(),
        _needs(),
    ]
    return "\n".join(parts)


def _section(cls: type[Intervention]) -> str:
    default = cls()
    lines = [
        f"## {cls.name}",
        "",
        f"{inspect.cleandoc(cls.__doc__ or '').splitlines()[0]} {cls.paper}.",
        "",
        f"Stages: {_names(implemented_stages(default))}. Needs: {_names(sorted(default.needs))}. "
        f"Writes: {_names(sorted(cls.writes))}.",
        "",
        "| option | default | |",
        "|---|---|---|",
    ]
    documented = _field_docs(cls)
    for field in fields(cls):
        value = getattr(default, field.name)
        lines.append(f"| `{field.name}` | `{_yaml(value)}` | {documented[field.name]} |")
    return "\n".join([*lines, ""])


def _yaml(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


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
