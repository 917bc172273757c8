"""The command line. Nothing heavy is imported before a command needs it: help and list answer at once."""

import os
import sys
from collections.abc import Sequence

from .commands._border import Signals, quiet_exit, report
from .commands._parser import build_parser, logging_to_stderr
from .errors import nearest


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    It is 0; 1 where some rows have no answer, or for a fault of ours; 2 for what a person can mend. After a signal it
    is 128 and the signal's number. What went wrong is one line on standard error."""
    command, full = "", bool(os.environ.get("HUBMODELS_TRACEBACK"))
    with quiet_exit(), Signals() as signals:
        try:
            parser = build_parser()
            arguments, rest = parser.parse_known_args(argv)
            command, full = arguments.command, full or arguments.traceback
            if rest and arguments.takes_fields is None:
                options = [option for action in arguments.parser._actions for option in action.option_strings]
                arguments.parser.error(f"unknown argument {rest[0]}{nearest(rest[0], options)}")
            with logging_to_stderr():
                code = arguments.run(arguments, rest) or 0
            sys.stdout.flush()
            if processes := sys.modules.get(f"{__package__}.processes"):
                processes.leave_processes(code)
            return code
        except SystemExit:  # of the parser's errors, of help, and of a training that a signal ended
            raise
        except BaseException as error:
            return report(error, command, signals.received, full)


if __name__ == "__main__":
    sys.exit(main())
