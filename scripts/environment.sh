# Sourced by quickstart.sh and test.sh: makes an environment with pinned versions once, and puts it on the PATH.
# HUBMODELS_VERSIONS=newest (the default) makes .venv of scripts/constraints-newest.txt, HUBMODELS_VERSIONS=lowest makes
# .venv-lowest of scripts/constraints-lowest.txt. `python3.11 scripts/pin_versions.py` renews both files.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
versions=${HUBMODELS_VERSIONS:-newest}
case "$versions" in
    newest) venv=.venv ;;
    lowest) venv=.venv-lowest ;;
    *) echo "HUBMODELS_VERSIONS must be newest or lowest, got $versions" >&2; exit 2 ;;
esac
constraints=scripts/constraints-$versions.txt
stamp=$venv/installed-$(cat pyproject.toml "$constraints" | cksum | cut -d' ' -f1)
if [ ! -e "$stamp" ]; then
    python=""
    for candidate in python3.11 python3.12 python3.13 python3 python; do
        if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    [ -n "$python" ] || { echo "hubmodels needs Python 3.11 or newer on the PATH" >&2; exit 2; }
    echo "Making $venv and installing the pinned versions (once, a few minutes) ..."
    "$python" -m venv "$venv"
    pip=("$venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check)
    # torch by itself first: the pin names the build without gigabytes of CUDA where the index has one.
    "${pip[@]}" "$(grep '^torch==' "$constraints")"
    "${pip[@]}" --requirement "$constraints"
    "${pip[@]}" --no-deps --editable .
    rm -f "$venv"/installed-*
    touch "$stamp"
fi
export PATH="$PWD/$venv/bin:$PATH"
export TOKENIZERS_PARALLELISM=false HF_HUB_DISABLE_TELEMETRY=1
