"""``python -m rlent`` is the command ``rlent``."""

import sys

from rlent.launch.cli import main

sys.exit(main())
