"""How fast the engine loop is beside that of another revision of this repository.

    make bench-against REV=v1.2.0

Both take their turns round by round, so that a busy machine slows both. Each replays the workloads as its own
benchmarks have them. A ratio below 1 means that the working tree is faster.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

WORKER = """
import gc, sys, time
from pathlib import Path
root, traces = Path(sys.argv[1]), Path(sys.argv[2])
sys.path[:0] = [str(root / folder) for folder in ("tests/benchmarks", "tests/support", "tests", "engine")]
import workloads
made = {"W1": workloads.w1, "W2": workloads.w2}
if traces.is_dir():
    made |= {"W3": lambda: workloads.w3(traces), "W3 cached": lambda: workloads.w3_cached(traces)}
made = {name: workload() for name, workload in made.items()}
print(*made, sep=",", flush=True)
gc.disable()
for line in sys.stdin:
    engine = made[line.strip()].engine()
    started = time.perf_counter()
    engine.run()
    print(time.perf_counter() - started, flush=True)
    del engine
    gc.collect()
"""


class Worker:
    """A process that runs the workloads of one revision, whose files are below `root`."""

    def __init__(self, root: Path) -> None:
        traces = os.environ.get("TRACESIM_TRACES") or "/nonexistent"
        command = [sys.executable, "-c", WORKER, str(root), str(Path(traces).resolve())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.workloads = self._read().split(",")

    def seconds(self, workload: str) -> float:
        """Return how long the engine loop takes for a workload."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{workload}\n")
        self._process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit("a worker has failed, see above; the revision may have no workloads of this form")
        return line.strip()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def main() -> None:
    """Print the times of both revisions and their ratio for each workload."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", help="what git calls the other revision")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", arguments.revision], stdout=subprocess.PIPE, check=True
        )
        subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
        here, there = stack.enter_context(Worker(ROOT)), stack.enter_context(Worker(folder))
        print(f"{'workload':12}{'here':>12}{arguments.revision[:12]:>14}{'ratio':>8}{'median':>8}")
        for workload in [name for name in here.workloads if name in there.workloads]:
            rounds = arguments.rounds if workload in ("W1", "W2") else max(3, arguments.rounds // 4)
            pairs = [(here.seconds(workload), there.seconds(workload)) for _ in range(rounds + 1)][1:]
            mine, theirs = (min(seconds) for seconds in zip(*pairs, strict=True))
            median = statistics.median([mine / theirs for mine, theirs in pairs])
            times = f"{1e3 * mine:9.1f} ms{1e3 * theirs:11.1f} ms"
            print(f"{workload:12}{times}{mine / theirs:8.3f}{median:8.3f}", flush=True)


if __name__ == "__main__":
    main()
