"""Publish a release folder: `python scripts/publish.py FOLDER --repo_id me/name`, the same as `hubmodels publish`."""

import sys

from hubmodels.cli import main

if __name__ == "__main__":
    sys.exit(main(["publish", *sys.argv[1:]]))
