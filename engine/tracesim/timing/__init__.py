"""Time: the clock, the timekeeper, the gaps between tokens, and the arrival process."""
