#!/usr/bin/env bash
# Makes .venv when needed, then checks the style and runs the test suite. Arguments go to pytest.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
# One thread a process: two workers on two cores, and sums in one order.
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=0
ruff check .
exec python -m pytest -n 2 "$@"
