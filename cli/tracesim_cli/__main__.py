"""`tracesim`, and `python -m tracesim_cli`: nothing is imported before an interrupt is quiet."""

import gc
import os
import sys
from contextlib import suppress


def main() -> None:
    """Run the command line, and end the process with it."""
    gc.disable()  # what is made lives to the end of the command, and none of it in circles
    try:
        from tracesim_cli.main import main as run

        run()
    except KeyboardInterrupt:  # before a command has begun: there is nothing to show
        sys.exit(130)
    except SystemExit as end:
        _leave(end.code)
        raise


def _leave(code: object) -> None:
    """End the process here and now: to take everything apart takes Python as long as to start.

    Return where something cannot be written, or the code is a message: Python's own way out tells.
    """
    if isinstance(code, int):
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


if __name__ == "__main__":
    main()
