"""Sampling parameters, the recorded response and where it stops, and the simulator that emits it."""
