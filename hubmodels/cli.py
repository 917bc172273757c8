"""The command line. Nothing heavy is imported before a command needs it: help and list answer at once."""

import os
import sys
from collections.abc import Sequence

from .commands._parser import build_parser, is_main_process, logging_to_stderr
from .errors import nearest


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, or 2 for what a person can mend (one line on stderr)."""
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and arguments.takes_fields is None:
        command = arguments.parser
        hint = nearest(rest[0], [option for action in command._actions for option in action.option_strings])
        command.error(f"unknown argument {rest[0]}{hint}")
    try:
        with logging_to_stderr():
            code = arguments.run(arguments, rest) or 0
        sys.stdout.flush()
        if processes := sys.modules.get(f"{__package__}.processes"):
            processes.leave_processes(code)
        return code
    except BrokenPipeError:  # the reader, `head` for example, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ValueError as error:  # a HubmodelsError, or what a library says of a value that a person gave
        if os.environ.get("HUBMODELS_TRACEBACK"):
            raise
        if is_main_process():
            print(f"hubmodels {arguments.command}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
