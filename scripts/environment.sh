# Sourced by quickstart.sh and test.sh: makes .venv with pinned versions once, and puts it on the PATH.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
stamp=.venv/installed-$(cat pyproject.toml scripts/requirements.txt | cksum | cut -d' ' -f1)
if [ ! -e "$stamp" ]; then
    python=""
    for candidate in python3.11 python3.12 python3.13 python3 python; do
        if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    [ -n "$python" ] || { echo "hubmodels needs Python 3.11 or newer on the PATH" >&2; exit 2; }
    echo "Making .venv and installing the pinned versions (once, a few minutes) ..."
    "$python" -m venv .venv
    # torch by itself first: the pin names the build without gigabytes of CUDA where the index has one.
    .venv/bin/python -m pip install --quiet --quiet --disable-pip-version-check "torch==2.13.0"
    .venv/bin/python -m pip install --quiet --quiet --disable-pip-version-check -r scripts/requirements.txt
    .venv/bin/python -m pip install --quiet --quiet --disable-pip-version-check --no-deps --editable .
    rm -f .venv/installed-*
    touch "$stamp"
fi
export PATH="$PWD/.venv/bin:$PATH"
export TOKENIZERS_PARALLELISM=false HF_HUB_DISABLE_TELEMETRY=1
