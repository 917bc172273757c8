"""`python -m hubmodels` is the command `hubmodels`."""

import sys

from .cli import main

sys.exit(main())
