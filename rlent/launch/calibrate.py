"""``rlent calibrate``: entropy thresholds from the completions of an evaluation."""

from itertools import groupby
from pathlib import Path

from rlent.errors import ConfigError
from rlent.evaluation import Answer
from rlent.evaluation.calibration import (
    Coverage,
    Stopped,
    conformal_threshold,
    correct_score,
    coverage,
    stop_thresholds,
    stopped,
)
from rlent.evaluation.results import CORRECT
from rlent.evaluation.store import read_set
from rlent.launch.show import say


def calibrate(folder: Path, *, problems: int, alpha: float) -> int:
    """Thresholds from the first ``problems`` of a set, and what they do to the others; returns the exit status.

    Raises:
        ConfigError: the folder holds no completions of a set, or not enough problems.
        RlentError: the calibration problems say nothing, see ``rlent.evaluation.calibration``.
    """
    if not 0 < alpha < 1:
        raise ConfigError("not a share", key="--alpha", expected="between 0 and 1", given=alpha)
    answers = [answer for answer in read_set(folder, "FOLDER") if answer.score is not None]
    numbers = sorted({answer.problem for answer in answers})
    if not 0 < problems < len(numbers):
        raise ConfigError(
            "some problems must be left to try the thresholds on",
            key="--problems",
            expected=f"1 to {len(numbers) - 1}",
            given=problems,
        )
    known = set(numbers[:problems])
    _stopping(answers, known)
    if any(answer.sample is not None for answer in answers):
        _candidates([each for each in answers if each.sample is not None], known, alpha)
    return 0


def _stopping(answers: list[Answer], known: set[int]) -> None:
    """Thresholds of the greedy completions."""
    greedy = [answer for answer in answers if answer.sample is None]
    calibration = [answer for answer in greedy if answer.problem in known]
    rest = [answer for answer in greedy if answer.problem not in known]
    found = stop_thresholds([each.entropy for each in calibration], _correct(calibration))
    say(f"stopping    {len(calibration)} answers to calibrate on, {len(rest)} to try")
    say(f"            Cohen's d {found.effect:.3f}")
    for name, threshold in (("tau_mean", found.mean), ("tau_info", found.info)):
        result = stopped([each.entropy for each in rest], _correct(rest), threshold)
        say(f"{name:12}{threshold:.4f} nats: {_said(result)}")
    everything = stopped([each.entropy for each in rest], _correct(rest), float("inf"))
    say(f"{'all':12}{_said(everything)}")


def _candidates(drawn: list[Answer], known: set[int], alpha: float) -> None:
    """Conformal sets of the drawn completions."""
    by_problem = [list(group) for _, group in groupby(drawn, key=lambda each: each.problem)]
    scored = [
        (group[0].problem, [each.entropy * each.length for each in group], _correct(group))
        for group in by_problem
    ]
    least = [correct_score(*each[1:]) for each in scored if each[0] in known]
    scores = [score for score in least if score is not None]
    threshold = conformal_threshold(scores, alpha)
    say(
        f"conformal   {len(scores)} of {len(least)} problems to calibrate on have a correct candidate"
    )
    result = coverage([each[1:] for each in scored if each[0] not in known], threshold)
    say(f"q           {threshold:.4f} nats at alpha {alpha:g}: {_sets(result)}")


def _correct(answers: list[Answer]) -> list[bool]:
    return [answer.score is not None and answer.score >= CORRECT for answer in answers]


def _said(result: Stopped) -> str:
    accuracy = "-" if result.accuracy is None else f"{result.accuracy:.4f}"
    return f"{result.share:.1%} of answers are taken, accuracy {accuracy}"


def _sets(result: Coverage) -> str:
    return (
        f"{result.covered:.1%} of {result.problems} sets hold a correct candidate, "
        f"{result.size:.2f} candidates in the mean"
    )
