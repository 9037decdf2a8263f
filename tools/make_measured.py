"""Write sample_traces/measured/requests.csv: times of requests as a real server would give them.

python tools/make_measured.py

They are made up: the first requests of sample_traces/rush_hour.csv, replayed under a clock that the
calibration has to find, with random noise on every time.
"""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path

from tracesim import EngineArgs, LLMEngine, TraceSimulator
from tracesim.timing.clock import PER_SECOND, parse_clock
from tracesim.trace.reader import read_records

SAMPLES = Path(__file__).resolve().parent.parent / "sample_traces"
TARGET = SAMPLES / "measured" / "requests.csv"
CLOCK = "linear:base=9ms,prefill=70us,decode=60us,context=60ns,prefill_context=2ns"
REQUESTS = 160
NOISE = 0.02


def main() -> None:
    """Write the table."""
    args = EngineArgs(engine="vllm-v1", async_scheduling=True, num_gpu_blocks=4000)
    engine = LLMEngine(args.create_engine_config(), TraceSimulator([], None), clock=parse_clock(CLOCK))
    engine.add_records(list(islice(read_records([SAMPLES / "rush_hour.csv"]), REQUESTS)))
    engine.run()
    assert engine.timekeeper is not None
    draw = random.Random(20261125)
    lines = ["id,prompt_tokens,output_tokens,arrival_time,first_token_time,last_token_time"]
    for name, times in engine.timekeeper.requests.items():
        assert times.first_token is not None
        assert times.last_token is not None
        request = engine.requests[name].request
        arrival = times.arrived / PER_SECOND
        first = arrival + (times.first_token - times.arrived) / PER_SECOND * draw.gauss(1, NOISE)
        last = first + (times.last_token - times.first_token) / PER_SECOND * draw.gauss(1, NOISE)
        lengths = f"{request.num_prompt_tokens},{request.num_output_tokens}"
        lines.append(f"{name},{lengths},{arrival:.6f},{first:.6f},{last:.6f}")
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
