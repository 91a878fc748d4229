"""``rlent interventions``."""

from dataclasses import MISSING, fields
from typing import Any

from rlent import losses
from rlent.interventions import TABLE, implemented_stages
from rlent.surrogates import SURROGATES


def print_table() -> None:
    """Name, paper, stages, needs under its defaults, and options of every intervention; then surrogates and losses."""
    for name, cls in TABLE.items():
        default = cls()
        print(f"{name}  ({cls.paper})")
        print(f"  stages   {', '.join(implemented_stages(default))}")
        print(f"  needs    {', '.join(sorted(default.needs)) or 'nothing'}")
        print(f"  options  {_options(default)}\n")
    print("Surrogates, for trainer.surrogate:\n")
    for name, cls in SURROGATES.items():
        print(f"{name}  ({cls.paper})")
        print(f"  bounds   {', '.join(sorted(cls.reads)) or 'none'}")
        print(f"  options  {_options(cls())}\n")
    print("Losses over given answers, for the section loss:\n")
    for name, cls in losses.TABLE.items():
        print(f"{name}  ({cls.paper})")
        print(f"  reads    {cls.reads}")
        print(f"  options  {_declared(cls)}\n")


def _declared(cls: type[Any]) -> str:
    """The options of a class some of which have no default."""
    return ", ".join(
        field.name if field.default is MISSING else f"{field.name}: {field.default}"
        for field in fields(cls)
    )


def _options(default: Any) -> str:
    options = ", ".join(
        f"{field.name}: {getattr(default, field.name)}" for field in fields(default)
    )
    return options or "none"
