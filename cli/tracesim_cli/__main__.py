"""The entry point of `tracesim`, `python -m tracesim` and `python -m tracesim_cli`.

It imports nothing but the standard library before it can handle an interrupt.
"""

import gc
import os
import sys
from contextlib import suppress

from tracesim_cli.terminal.signals import end_on_signals


def main() -> None:
    """Run the command line and end the process."""
    gc.disable()  # objects live until the command ends, and none of them are in cycles
    try:
        end_on_signals()
        from tracesim_cli.main import main as run

        run()
    except KeyboardInterrupt:  # before a command has begun: there is nothing to show
        sys.exit(130)
    except SystemExit as end:
        if isinstance(end.code, int):
            _exit_now(end.code)
        raise


def _exit_now(code: int) -> None:
    """End the process without taking it apart, which would take as long as to start Python.

    Return if a stream cannot be flushed, so that Python itself ends the process and reports that.
    """
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
