"""The commands of ``rlent``: a file each, with the arguments, the help that teaches them, and what is done.

The files import what they run only when they run it: ``rlent --help`` and a typo in a recipe must answer at once.
"""

from types import ModuleType

from rlent.launch.commands import (
    calibrate,
    check,
    cold_start,
    compare,
    conformance,
    data,
    difficulty,
    eval,
    inspect,
    interventions,
    launch,
    merge,
    next_tokens,
    plot,
    replay,
    report,
    select,
    train,
)

COMMANDS: tuple[ModuleType, ...] = (
    train,
    launch,
    merge,
    check,
    data,
    eval,
    select,
    cold_start,
    next_tokens,
    interventions,
    conformance,
    report,
    plot,
    calibrate,
    difficulty,
    replay,
    inspect,
    compare,
)
"""In the order in which ``rlent --help`` lists them: each has ``add(commands)`` and ``run(options)``."""
