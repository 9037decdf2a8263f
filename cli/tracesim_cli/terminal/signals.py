"""What SIGINT and SIGTERM do. It imports nothing but the standard library, to be ready before all else."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Final, NoReturn

EXIT_CODES: Final = {signal.SIGINT: 130, signal.SIGTERM: 143}


def end_on_signals() -> None:
    """Make SIGINT and SIGTERM end the command as an exception does, so that it can clear up.

    While a module is imported the process ends at once: an exception there could leave a module of an
    extension half made, and then crash. Signals that are ignored, as in a background job, stay ignored.
    """
    for number in EXIT_CODES:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os._exit(EXIT_CODES[signal.Signals(number)])
        frame = frame.f_back
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(EXIT_CODES[signal.SIGTERM])
