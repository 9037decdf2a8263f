"""The entry point of `tracesim`, `python -m tracesim` and `python -m tracesim_cli`.

It imports nothing that Python has not loaded itself before it can handle an interrupt.
"""

import os
import sys


def main() -> None:
    """Run the command line and end the process."""
    try:
        import gc

        from tracesim_cli.terminal.signals import end_on_signals

        gc.disable()  # objects live until the command ends, and none of them are in cycles
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
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    os._exit(code)


if __name__ == "__main__":
    main()
