"""Durations as people write them: `20ms`, `1.5s`."""

from __future__ import annotations

import math
import re
from typing import Final

from tracesim.errors import ConfigError

_UNITS: Final = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_DURATION: Final = re.compile(r"(?P<number>[0-9]*\.?[0-9]+(?:e-?[0-9]+)?)\s*(?P<unit>us|µs|ms|s)")


def parse_duration(name: str, value: object) -> float:
    """The seconds that `value`, such as `20ms`, stands for. Raises ConfigError, which calls it `name`."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = float(match["number"]) * _UNITS[match["unit"]] if match else math.inf
    if not math.isfinite(seconds):
        raise ConfigError(f"{name} is {value!r}; must be a number and us, ms or s, such as '20ms'")
    return seconds
