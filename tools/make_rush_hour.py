"""Write sample_traces/rush_hour.csv: two minutes of requests with a burst in the middle.

python tools/make_rush_hour.py

The trace is drawn from a seed, in the format of Azure's LLM inference traces; nothing in it was recorded.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "sample_traces" / "rush_hour.csv"
START = datetime(2026, 3, 2, 9, 0, 0)
SECONDS = 120.0
BURST = (45.0, 65.0)


def draw_length(draw: random.Random, median: float, spread: float, largest: int) -> int:
    """Return a length in tokens whose logarithm is normal, at most `largest`."""
    return max(1, min(largest, round(draw.lognormvariate(0, spread) * median)))


def main() -> None:
    """Write the trace."""
    draw = random.Random(20260302)
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    seconds = 0.0
    while seconds < SECONDS:
        prompt = draw_length(draw, 700, 0.9, 6000)
        response = draw_length(draw, 180, 0.7, 1000)
        lines.append(f"{START + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S.%f},{prompt},{response}")
        per_second = 9.0 if BURST[0] <= seconds < BURST[1] else 2.5
        seconds += draw.expovariate(per_second)
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
