"""Renew the two files of pinned versions, with which tests and quick start run. On Python 3.11, in a few minutes:

    python3.11 scripts/pin_versions.py

constraints-newest.txt has the newest release of everything that pyproject.toml names, with the extra `test`, and of
what these need; constraints-lowest.txt has the lower bounds of pyproject.toml, and the newest of the rest that goes
with them. Each is what pip installed in a fresh environment. Raise a bound that pip cannot install, or with which the
tests do not pass."""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
TORCH = "torch==2.13.0"  # in both: of this release there is a build without gigabytes of CUDA


def lower_bounds() -> list[str]:
    """Return `name==bound` for every `name>=bound` in pyproject.toml, torch as pinned."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = project["dependencies"] + project["optional-dependencies"]["test"]
    return [TORCH if name.startswith("torch>") else name.replace(">=", "==") for name in named]


def resolve(constraints: list[str]) -> list[str]:
    """Install the package and its extra `test` in a fresh environment; return what pip lists beside the package."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [f"{folder}/bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
        (Path(folder) / "constraints.txt").write_text("\n".join(constraints) + "\n")
        subprocess.run([*pip, "install", TORCH], check=True)  # first and alone, or pip may take another build
        subprocess.run([*pip, "install", "--constraint", f"{folder}/constraints.txt", f"{ROOT}[test]"], check=True)
        listed = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout.splitlines()
    return sorted((re.sub(r"\+\w+$", "", line) for line in listed if not line.startswith("hubmodels")), key=str.lower)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    if sys.version_info[:2] != (3, 11):
        sys.exit("the versions must be those of Python 3.11, the oldest that is supported: run it with python3.11")
    for name, constraints in (("newest", [TORCH]), ("lowest", lower_bounds())):
        lines = ["# Made by scripts/pin_versions.py; do not edit.", *resolve(constraints)]
        (ROOT / f"scripts/constraints-{name}.txt").write_text("\n".join(lines) + "\n")
        print(f"scripts/constraints-{name}.txt: {len(lines) - 1} releases")
