"""Calibration: the clock of a real server from what was measured on it, and how far it can be trusted."""
