"""What holds for every test."""

import signal

from hypothesis import settings

settings.register_profile("tracesim", deadline=None)  # a loaded machine is no failure
settings.load_profile("tracesim")

# A shell starts what it runs in the background with Ctrl-C ignored, and so would be every process of a test.
signal.signal(signal.SIGINT, signal.default_int_handler)
