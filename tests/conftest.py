"""What holds for every test."""

from hypothesis import settings

settings.register_profile("tracesim", deadline=None)  # a loaded machine is no failure
settings.load_profile("tracesim")
