"""The committed benchmarks; ``python scripts/bench.py --help`` lists them."""
