#!/usr/bin/env bash
# Makes the environment when needed, then checks the style and runs the test suite. Arguments go to pytest.
# HUBMODELS_VERSIONS=lowest takes the lower bounds of pyproject.toml in the place of the newest versions.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
# One thread a process: two workers on two cores, and sums in one order.
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=0
if [ "$versions" = newest ]; then
    ruff check .
    mypy
fi
exec python -m pytest -n 2 "$@"
