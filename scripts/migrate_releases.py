"""Bring releases of 0.1.0 to the present form: config.json keeps what the network reads, problem.json the rest.

    python scripts/migrate_releases.py model_cards/*/

The weights stay, and so does every golden output, to 1e-5 of its scale. A release that is as it should be stays so."""

import sys

from hubmodels.use import migrate_release

if __name__ == "__main__":
    for folder in sys.argv[1:]:
        print(f"{folder}: the golden outputs deviate by {migrate_release(folder):.1e}")
