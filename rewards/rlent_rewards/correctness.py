"""Which reward says whether a completion is right, for rewards that depend on it."""

from dataclasses import dataclass, fields

from rlent_rewards.exact import Exact
from rlent_rewards.math_answer import MathAnswer
from rlent_rewards.multiple_choice import MultipleChoice
from rlent_rewards.numeric import Numeric
from rlent_rewards.python_function import PythonFunction
from rlent_rewards.reasoning_gym import ReasoningGym

Judge = MathAnswer | Numeric | Exact | MultipleChoice | ReasoningGym | PythonFunction


@dataclass(frozen=True, kw_only=True, slots=True)
class Correctness:
    """One reward by its name in ``REWARDS``, as in ``{math_answer: {}}``.

    Raises:
        ValueError: none is given, or several.
    """

    math_answer: MathAnswer | None = None
    numeric: Numeric | None = None
    exact: Exact | None = None
    multiple_choice: MultipleChoice | None = None
    reasoning_gym: ReasoningGym | None = None
    python_function: PythonFunction | None = None

    def __post_init__(self) -> None:
        if len(given := self._given()) != 1:
            raise ValueError(
                "correctness must name one reward and its options, such as {math_answer: {}}; "
                f"given: {', '.join(given) or 'none'}"
            )

    @property
    def reward(self) -> Judge:
        """The reward that is given."""
        (reward,) = self._given().values()
        return reward

    def _given(self) -> dict[str, Judge]:
        rewards = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: reward for name, reward in rewards.items() if reward is not None}
