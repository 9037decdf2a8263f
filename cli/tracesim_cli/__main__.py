"""`tracesim`, and `python -m tracesim_cli`: nothing is imported before an interrupt is quiet."""

import gc
import sys


def main() -> None:
    """Run the command line."""
    gc.disable()  # what is made lives to the end of the command, and none of it in circles
    try:
        from tracesim_cli.main import main as run

        run()
    except KeyboardInterrupt:  # before a command has begun: there is nothing to show
        sys.exit(130)


if __name__ == "__main__":
    main()
