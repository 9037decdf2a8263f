"""What SIGINT and SIGTERM do. It imports nothing but the standard library, to be ready before all else."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any, Final, NoReturn

EXIT_CODES: Final = {signal.SIGINT: 130, signal.SIGTERM: 143}


def end_on_signals() -> None:
    """Make SIGINT and SIGTERM end the command as an exception does, so that it can clear up.

    Where an exception is not safe or would be lost the process ends at once: while a module is imported, as
    one of an extension could stay half made and then crash, and in a callback of Python's memory management.
    Signals that are ignored, as in a background job, stay ignored.
    """
    for number in EXIT_CODES:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)
    sys.unraisablehook = _end_after_callback


def _end(number: int, frame: FrameType | None) -> NoReturn:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os._exit(EXIT_CODES[signal.Signals(number)])
        frame = frame.f_back
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(EXIT_CODES[signal.SIGTERM])


def _end_after_callback(lost: Any) -> None:
    """End the process if the exception of a callback, which nobody handles, is that of a signal."""
    if isinstance(lost.exc_value, KeyboardInterrupt):
        os._exit(EXIT_CODES[signal.SIGINT])
    if isinstance(lost.exc_value, SystemExit):
        os._exit(EXIT_CODES[signal.SIGTERM])
    sys.__unraisablehook__(lost)
