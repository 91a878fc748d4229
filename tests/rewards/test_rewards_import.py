import subprocess
import sys
from pathlib import Path

import rlent_rewards

FOLDER = Path(rlent_rewards.__file__).parent.parent


def loaded_after(code: str) -> set[str]:
    """The top-level modules of a fresh process that has nothing on its path but the package."""
    program = f"import sys; sys.path.insert(0, {str(FOLDER)!r}); {code}; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=FOLDER
    )
    return {name.partition(".")[0] for name in run.stdout.split()}


def test_importing_loads_nothing_heavy() -> None:
    heavy = {"torch", "sympy", "math_verify", "latex2sympy2_extended", "trl", "rlent"}
    assert not loaded_after("import rlent_rewards") & heavy


def test_numbers_are_scored_without_computer_algebra() -> None:
    call = "rlent_rewards.MathAnswer()(['so 1,234', 'none'], answer=['1234', '1/2'])"
    assert not loaded_after(f"import rlent_rewards; {call}") & {"sympy", "math_verify", "torch"}
