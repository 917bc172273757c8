"""`python -m hubmodels` is the command `hubmodels`."""

import sys

try:
    from .cli import main
except KeyboardInterrupt:
    sys.exit(130)
sys.exit(main())
