"""A signal ends a command once, wherever it comes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

IMPORTING = """
import importlib.abc, importlib.machinery, os, signal, sys
from tracesim_cli.terminal.signals import end_on_signals
class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        os.kill(os.getpid(), int(sys.argv[1]))
end_on_signals()
sys.meta_path.insert(0, Interrupting())
try:
    import anything
except BaseException as error:
    print("raised", type(error))
"""
IN_CALLBACK = """
import os, signal, sys, weakref
from tracesim_cli.terminal.signals import end_on_signals
class Kept: pass
end_on_signals()
kept = Kept()
reference = weakref.ref(kept, lambda _: os.kill(os.getpid(), int(sys.argv[1])))
del kept
print("not ended")
"""
IN_CODE = """
import os, sys
from tracesim_cli.terminal.signals import end_on_signals
end_on_signals()
try:
    os.kill(os.getpid(), int(sys.argv[1]))
finally:
    print("cleared up")
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("script", [IMPORTING, IN_CALLBACK])
def test_a_signal_where_an_exception_is_not_safe_ends_the_process(
    script: str, number: signal.Signals, code: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script, str(int(number))], capture_output=True, check=False, timeout=60
    )

    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_any_other_signal_is_an_exception(number: signal.Signals) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_CODE, str(int(number))], capture_output=True, check=False, timeout=60
    )

    assert done.stdout == b"cleared up\n"
