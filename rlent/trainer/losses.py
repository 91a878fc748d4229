"""What a recipe's ``trainer`` section says of the objective: TRL's loss type and options, and rlent's ``surrogate``."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from rlent.config.components import parse_entry
from rlent.config.validate import parse_dataclass
from rlent.errors import ConfigError
from rlent.objective import LOSS_TYPES, Objective, build_objective
from rlent.surrogates import SURROGATES, Surrogate

KEY = "trainer.surrogate"
_BOUNDS = ("epsilon", "epsilon_high")
SURROGATE_OPTIONS = (*_BOUNDS, *sorted({o for cls in SURROGATES.values() for o in cls.trl_options}))
"""TRL's options that some surrogate reads and others do not."""
READ_HERE = ("loss_type", "surrogate", *SURROGATE_OPTIONS)
"""The attributes of ``args`` that the functions of this file read."""


def objective_of(args: Any) -> Objective:
    """The objective that a configuration describes.

    Raises:
        ConfigError: as ``surrogate_of``.
    """
    return build_objective(args.loss_type, surrogate_of(args))


def surrogate_of(args: Any) -> Surrogate:
    """The surrogate that is written, or that of the loss type with TRL's options.

    Raises:
        ConfigError: the loss type or the surrogate is unknown, or an option of it is unknown or out of range.
    """
    if args.loss_type not in LOSS_TYPES:
        raise ConfigError(
            "the loss type is not supported",
            key="trainer.loss_type",
            expected=", ".join(LOSS_TYPES),
            given=args.loss_type,
            choices=LOSS_TYPES,
        )
    if args.surrogate is not None:
        return _parsed(args.surrogate)
    cls = SURROGATES[LOSS_TYPES[args.loss_type].surrogate]
    options = {field: getattr(args, option) for option, field in cls.trl_options.items()}
    try:
        return parse_dataclass(cls, options, KEY)
    except ConfigError as error:
        _name_as_trl_does(error, cls)
        raise


def as_entry(surrogate: Any) -> Any:
    """A config object in the form of a recipe, ``{name: {options}}``; anything else as it is."""
    return {surrogate.name: asdict(surrogate)} if isinstance(surrogate, Surrogate) else surrogate


def ratio_bounds(args: Any) -> tuple[float, float]:
    """Bounds on the ratio before any intervention moves them.

    Raises:
        ConfigError: an option of the surrogate does not go with them.
    """
    surrogate = surrogate_of(args)
    low, high = _bounds(surrogate, args.epsilon, args.epsilon_high)
    try:
        surrogate.check_bounds(low, high)
    except ValueError as error:
        refusal = ConfigError(str(error), key=f"{KEY}.{surrogate.name}.{str(error).split()[0]}")
        if args.surrogate is None:
            _name_as_trl_does(refusal, type(surrogate))
        raise refusal from error
    return low, high


def unread_options(args: Any) -> dict[str, str]:
    """TRL's options that the surrogate does not read, and what to do in place of each."""
    surrogate = surrogate_of(args)
    trl_options = surrogate.trl_options if args.surrogate is None else {}
    unread = {
        option: _remedy(option, surrogate)
        for option in SURROGATE_OPTIONS
        if option not in (*_BOUNDS, *trl_options)
    }
    high = args.epsilon_high
    moved = {
        "epsilon": {_bounds(surrogate, epsilon, high) for epsilon in (0.1, 0.2)},
        "epsilon_high": {_bounds(surrogate, args.epsilon, other) for other in (0.1, 0.2)},
    }
    return unread | {name: _remedy(name, surrogate) for name in _BOUNDS if len(moved[name]) == 1}


def refuse_unread(args: Any, written: Callable[[str], bool]) -> None:
    """Refuse an option that is written and has no effect.

    Raises:
        ConfigError: names the option, the surrogate, and what to do.
    """
    for option, remedy in unread_options(args).items():
        if written(option):
            name = surrogate_of(args).name
            source = (
                f"loss_type {args.loss_type}" if args.surrogate is None else f"surrogate {name}"
            )
            raise ConfigError(
                f"{option} has no effect on {source}",
                key=f"trainer.{option}",
                given=getattr(args, option),
                remedy=remedy,
            )


def readers_of(field: str) -> str:
    """How to get a surrogate that reads a bound field of the signal."""
    names = [name for name, cls in SURROGATES.items() if field in cls.reads]
    types = [name for name, loss in LOSS_TYPES.items() if loss.surrogate in names]
    return (
        f"set trainer.loss_type to one of {', '.join(types)}, or {KEY} to one of {', '.join(names)}"
    )


def _parsed(entry: Any) -> Surrogate:
    name = next(iter(entry), None) if isinstance(entry, Mapping) else entry
    if name in LOSS_TYPES.keys() - SURROGATES.keys():
        raise ConfigError(
            "the name of a loss type, which says how a surrogate is averaged",
            key=KEY,
            expected=", ".join(SURROGATES),
            given=name,
            remedy=f"set trainer.loss_type to {name}",
        )
    found = parse_entry(entry, SURROGATES, KEY)
    return parse_dataclass(SURROGATES[found.name], found.options, found.key)


def _name_as_trl_does(error: ConfigError, cls: type[Surrogate]) -> None:
    """Put TRL's option into an error in place of the surrogate's."""
    field = (error.key or "").rpartition(".")[2]
    for option, configured in cls.trl_options.items():
        if configured == field:
            error.key = f"trainer.{option}"
            error.problem = error.problem.replace(field, option)


def _bounds(
    surrogate: Surrogate, epsilon: float, epsilon_high: float | None
) -> tuple[float, float]:
    return surrogate.bounds(float(epsilon), None if epsilon_high is None else float(epsilon_high))


def _remedy(option: str, surrogate: Surrogate) -> str:
    own = surrogate.trl_options.get(option, option)
    if own in surrogate.__dataclass_fields__:
        return f"remove it and write {KEY}: {{{surrogate.name}: {{{own}: ...}}}}"
    readers = [name for name, cls in SURROGATES.items() if option in cls.trl_options]
    return (
        f"remove it, or use a surrogate that reads it: {', '.join(readers) or 'ppo, gspo, cispo'}"
    )
