"""Train or fine-tune: `accelerate launch scripts/train.py --config recipe.yaml`, the same as `hubmodels train`."""

import sys

from hubmodels.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
