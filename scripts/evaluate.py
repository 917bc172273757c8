"""Measure a checkpoint: `accelerate launch scripts/evaluate.py MODEL`, the same as `hubmodels evaluate`."""

import sys

from hubmodels.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
