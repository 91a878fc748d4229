"""``rlent interventions``."""

from dataclasses import fields

from rlent.interventions import TABLE, Intervention, implemented_stages


def print_table() -> None:
    """Every intervention of the table: name, paper, stages, needs under its defaults, options."""
    for name, cls in TABLE.items():
        default = cls()
        print(f"{name}  ({cls.paper})")
        print(f"  stages   {', '.join(implemented_stages(default))}")
        print(f"  needs    {', '.join(sorted(default.needs)) or 'nothing'}")
        print(f"  options  {_options(default)}\n")


def _options(default: Intervention) -> str:
    return ", ".join(f"{field.name}: {getattr(default, field.name)}" for field in fields(default))
