"""Reward by a function of the user's."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from inspect import Parameter, Signature, iscoroutinefunction, signature
from numbers import Real
from operator import attrgetter
from typing import Any

from rlent_rewards.protocol import Completion, no_column


@dataclass(frozen=True, kw_only=True, slots=True)
class PythonFunction:
    """What a Python function returns, which is called as TRL calls its reward functions.

    The function gets ``completions``, what TRL adds and every column of the dataset by keyword, so
    it takes ``**kwargs``. It returns a list or tuple with one finite number per completion, or None
    for a completion that it does not score. The function's name is the name of this reward. Its
    module is imported when the reward is made, which runs the code there.

    Raises:
        ValueError: names the function, which cannot be imported or called like that, or is a
            coroutine function.
    """

    function: str
    """Where it is: ``package.module:function`` or ``package.module.function``. The module must be
    installed, on PYTHONPATH or, for the command rlent, in the working directory."""

    def __post_init__(self) -> None:
        if problem := _problem(_load(self.function)):
            raise ValueError(f"python_function: function {self.function} {problem}")

    @property
    def __name__(self) -> str:
        _, name = _split(self.function)
        return name.rpartition(".")[2]

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float]:
        """The function's number per completion, or NaN for None, which is how TRL reads it.

        Raises:
            ValueError: names the function, which asks for a column that is not there or returns
                something else.
        """
        function = _load(self.function)
        arguments = {"completions": completions, **columns}
        if missing := _required(signature(function)) - arguments.keys():
            raise ValueError(
                f"python_function: {self.function}: {no_column(columns, min(missing))}"
            )
        rewards = function(**arguments)
        if not isinstance(rewards, list | tuple) or len(rewards) != len(completions):
            raise ValueError(
                f"python_function: {self.function} must return a list with one reward per "
                f"completion, {len(completions)} here; it returned {_described(rewards)}"
            )
        return [self._number(reward, row) for row, reward in enumerate(rewards)]

    def _number(self, reward: object, row: int) -> float:
        if reward is None:
            return math.nan
        if not (isinstance(reward, Real) and math.isfinite(reward)):
            raise ValueError(
                f"python_function: {self.function} must return finite numbers or None; for "
                f"completion {row} it returned {reward!r:.200}"
            )
        return float(reward)


def _split(path: str) -> tuple[str, str]:
    """The module and the name in it, both dotted names."""
    module, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    if not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        raise ValueError(
            "python_function: function must be a path such as package.module:function; "
            f"given: {path!r}"
        )
    return module, name


def _load(path: str) -> Any:
    module, name = _split(path)
    try:
        return attrgetter(name)(import_module(module))
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"python_function: function {path} cannot be imported: {error}; its module must be "
            "installed, in the working directory or on PYTHONPATH"
        ) from error


def _problem(function: Any) -> str | None:
    """Why a function cannot be called with any columns by keyword, or None."""
    if not callable(function):
        return f"must be callable; it is {_described(function)}"
    if iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__):
        return "must not be a coroutine function, which nobody would await"
    try:
        parameters = signature(function)
    except ValueError:
        return "must be written in Python; this one does not say what it takes"
    kinds = {parameter.kind for parameter in parameters.parameters.values()}
    if Parameter.VAR_KEYWORD not in kinds or Parameter.POSITIONAL_ONLY in kinds:
        return (
            "must take **kwargs and nothing by position only, because it is given the completions "
            f"and every column by keyword; it takes {parameters}"
        )
    return None


def _required(parameters: Signature) -> set[str]:
    """The arguments without which a function cannot be called."""
    return {
        name
        for name, parameter in parameters.parameters.items()
        if parameter.default is Parameter.empty
        and parameter.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)
    }


def _described(value: object) -> str:
    size = f" of {len(value)}" if isinstance(value, Sequence | Mapping) else ""
    return f"a {type(value).__name__}{size}"
