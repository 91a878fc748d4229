import math

import pytest

from rlent_rewards import PythonFunction

MODULE = "tests.rewards.functions"


def reward(name: str) -> PythonFunction:
    return PythonFunction(function=f"{MODULE}:{name}")


def ignore(name: str, value: float) -> None:
    """A ``log_metric`` for functions that log."""


@pytest.mark.parametrize("separator", [":", "."])
def test_both_ways_to_write_the_path(separator: str) -> None:
    made = PythonFunction(function=f"{MODULE}{separator}python_function")
    assert made.__name__ == "python_function"
    assert made(["12345", ""]) == [0.5, 0.0]


@pytest.mark.parametrize(
    ("path", "name"),
    [(f"{MODULE}:Scorer.method", "method"), (f"{MODULE}:scorer", "scorer")],
)
def test_the_name_is_the_last_part_of_the_path(path: str, name: str) -> None:
    assert PythonFunction(function=path).__name__ == name


def test_methods_and_callable_objects_are_functions() -> None:
    assert reward("Scorer.method")(["a", "b"]) == [2.0, 2.0]
    rewards = reward("scorer")(["yes", "no"])
    assert rewards == [1.0, 0.0]
    assert [type(value) for value in rewards] == [float, float]


def test_it_gets_the_columns_and_what_trl_adds() -> None:
    logged: dict[str, float] = {}
    rewards = reward("with_columns")(
        ["a", "b", "c"],
        level=[1, 2, -1],
        bonus=[10, 20, 30],
        answer=["x", "y", "z"],
        trainer_state=None,
        log_metric=logged.__setitem__,
    )
    assert rewards[:2] == [11.0, 22.0]
    assert math.isnan(rewards[2])
    assert logged == {"given": 3.0}


def test_an_optional_column_may_be_missing() -> None:
    assert reward("with_columns")(["a"], level=[4], log_metric=ignore) == [4.0]


def test_a_missing_column_is_named_with_those_there_are() -> None:
    message = (
        rf"python_function: {MODULE}:with_columns: no column 'level' in the dataset; "
        r"columns present: \['levels'\]; did you mean 'levels'\?"
    )
    with pytest.raises(ValueError, match=message):
        reward("with_columns")(["a"], levels=[4], log_metric=ignore)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("returns_none", "must return a list with one reward per completion, 2 here; .*a NoneType"),
        ("returns_number", "it returned a float"),
        ("returns_text", "it returned a str of 2"),
        ("returns_set", "it returned a set"),
        ("returns_too_few", "it returned a list of 1"),
        ("returns_too_many", "it returned a list of 3"),
        ("returns_nan", "finite numbers or None; for completion 1 it returned nan"),
        ("returns_infinity", "finite numbers or None; for completion 0 it returned inf"),
        ("returns_texts", "finite numbers or None; for completion 1 it returned '1.0'"),
        ("returns_complex", "finite numbers or None; for completion 1 it returned 1j"),
    ],
)
def test_what_it_returns_is_checked(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"python_function: {MODULE}:{name} .*{message}"):
        reward(name)(["a", "b"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("not_a_function", "must be callable; it is a int"),
        ("without_kwargs", r"must take \*\*kwargs .* it takes \(completions: "),
        ("positional_only", r"must take \*\*kwargs and nothing by position only"),
        ("coroutine", "must not be a coroutine function"),
        ("async_scorer", "must not be a coroutine function"),
        ("nothing_there", "cannot be imported: .*nothing_there.* on PYTHONPATH"),
    ],
)
def test_a_function_that_cannot_be_called_is_refused_when_the_reward_is_made(
    name: str, message: str
) -> None:
    with pytest.raises(ValueError, match=f"python_function: function {MODULE}:{name} {message}"):
        reward(name)


def test_a_function_without_a_signature_is_refused() -> None:
    with pytest.raises(ValueError, match="builtins:max must be written in Python"):
        PythonFunction(function="builtins:max")


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="no_such_package:score cannot be imported: No module"):
        PythonFunction(function="no_such_package:score")


@pytest.mark.parametrize("path", ["", "score", ":score", "a:", "a.b:", "a..b", "a/b.py:f", "a:b:c"])
def test_the_path_must_be_a_dotted_one(path: str) -> None:
    with pytest.raises(ValueError, match="function must be a path such as"):
        PythonFunction(function=path)
