import subprocess
import sys

from recipe_texts import EVERYTHING, Load

HEAVY = (
    "trl",
    "transformers",
    "datasets",
    "accelerate",
    "deepspeed",
    "wandb",
    "triton",
    "vllm",
    "math_verify",
    "sympy",
    "reasoning_gym",
)

PROGRAM = f"""
import sys
from rlent.config import dump_recipe, load_recipe
dump_recipe(load_recipe("recipe.yaml"))
print(*[name for name in {HEAVY!r} if name in sys.modules])
"""


def test_reading_a_recipe_loads_nothing_heavy(load: Load) -> None:
    load(EVERYTHING)
    path = [entry for entry in sys.path if entry]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path[:0] = {path!r}\n{PROGRAM}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []
