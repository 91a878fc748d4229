"""Large policies by formula, and small ones that are measured; ``python scripts/scaling.py --help``."""
