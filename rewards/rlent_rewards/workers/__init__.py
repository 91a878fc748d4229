"""A pool of processes for work that may hang, crash or take all memory.

Computer algebra has no limits of its own, and a model chooses what it works on. So it runs in
processes that can be killed: started when they are first needed, with an interpreter of their own,
because a forked copy of a process with threads or CUDA is not safe to run; ended by the kernel at
the time limit; replaced when they are gone. Nothing here uses signals or threads of the caller, so
it works in any thread.

``pool`` keeps the processes, ``batch`` deals calls out to them, ``process`` is one of them as the
caller sees it, ``main`` is what runs inside.
"""

from rlent_rewards.workers.batch import Call, run
from rlent_rewards.workers.limits import Failure, Limits
from rlent_rewards.workers.pool import Pool

__all__ = ["Call", "Failure", "Limits", "Pool", "run"]
