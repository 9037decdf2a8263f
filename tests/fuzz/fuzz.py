"""The project's fuzzer: random inputs, command lines, engines and screens, from one seed.

    make fuzz SECONDS=600 SEED=1

A finding is printed with a command that runs it again; its inputs stay in a folder of their own.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

if __name__ == "__main__":  # as pytest finds them
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]

import orjson
from fuzz_commands import Case, draw_case
from fuzz_engines import draw_run, faults_of_run
from fuzz_process import CODES, faults_of, run_here
from fuzz_values import changed_bytes

_MOST_FINDINGS: Final = 30


class Finding(NamedTuple):
    """What is wrong, and the command that shows it again."""

    fault: str
    command: str


class Fuzzer:
    """Draws cases of several kinds, each from a seed of its own, and keeps what is wrong with them."""

    def __init__(self, folder: Path) -> None:
        self.counts: Counter[str] = Counter()
        self.findings: list[Finding] = []
        self._folder = folder
        self._known: set[str] = set()

    def run(self, kind: str, seed: str) -> None:
        """Run the case of a kind that a seed draws."""
        self.counts[kind] += 1
        rng = random.Random(f"{kind}/{seed}")
        again = f"{shlex.quote(sys.executable)} tests/fuzz/fuzz.py --case {kind}/{seed}"
        try:
            faults = KINDS[kind](self, rng)
        except Exception as error:  # a defect of the fuzzer, or of what it calls in this process
            place = traceback.extract_tb(error.__traceback__)[-1]
            faults = [f"{type(error).__name__}: {error} at {Path(place.filename).name}:{place.lineno}"]
        for fault in faults:
            sort = re.sub(r"\d+|'.*'", "", fault.partition(" (")[0])[:160]
            if sort not in self._known:
                self._known.add(sort)
                self.findings.append(Finding(f"{kind}: {fault}", again))

    def run_command(self, rng: random.Random, *, on_terminal: bool = False) -> list[str]:
        """Run a random command in this process, with bytes of its input changed at random."""
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            folder = Path(name)
            case = draw_case(rng, folder)
            before = Path.cwd()
            os.chdir(folder)
            try:
                outcome = run_here(case.arguments, case.stdin, on_terminal=on_terminal)
            finally:
                os.chdir(before)
            faults = faults_of(outcome, shown="screen" if on_terminal else case.shown)
            if not on_terminal and case.shown == "json":
                faults += _faults_of_json(case, outcome.code, outcome.stdout)
            faults += [f"{each.name} is left behind" for each in folder.glob(".tracesim-*")]
            return [f"{fault} ({shlex.join(case.arguments)})" for fault in faults]

    def run_process(self, rng: random.Random) -> list[str]:
        """Run a random command as a process of its own, with a closed or a full stream now and then."""
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            case = draw_case(rng, Path(name))
            command = [sys.executable, "-m", "tracesim_cli", *case.arguments]
            ending = rng.choice(("", "", "| head -c 1", "| true", ">/dev/full", ">&-", "2>&-", "<&-"))
            line = " ".join(map(shlex.quote, command)) + f" {ending}"
            done = subprocess.run(
                ["bash", "-c", f"ulimit -v 4000000; set -o pipefail; {line}"],
                cwd=name,
                input=case.stdin,
                capture_output=True,
                timeout=60,
                check=False,
            )
            faults = [] if done.returncode in CODES else [f"exit code {done.returncode}"]
            if b"Traceback" in done.stderr:
                faults.append(f"a traceback: {done.stderr.decode(errors='replace').splitlines()[-1]}")
            faults += [f"{each.name} is left behind" for each in Path(name).glob(".tracesim-*")]
            return [f"{fault} ({shlex.join(case.arguments)} {ending})" for fault in faults]


def _faults_of_json(case: Case, code: object, stdout: bytes) -> list[str]:
    """Return what is wrong with output that is JSON, or lines of it; an error leaves none."""
    formats = [value for name, value in pairwise(case.arguments) if name == "--format"]
    if formats and formats[-1] in ("junit", "github"):
        return []
    is_lines = not formats or formats[-1] == "jsonl"
    try:
        for text in stdout.splitlines() if is_lines else [stdout] if stdout else []:
            orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return [f"output that is not JSON after exit code {code}: {error}"]
    return []


def _run_engine(_: Fuzzer, rng: random.Random) -> list[str]:
    run = draw_run(rng)
    return [f"{fault} ({run})" for fault in faults_of_run(run)]


def _run_bytes(_: Fuzzer, rng: random.Random) -> list[str]:
    """Read changed bytes of a sample with each reader: nothing is raised, and every problem has a place."""
    from fuzz_commands import SAMPLES

    from tracesim.errors import TraceProblem
    from tracesim.trace.formats import FORMATS
    from tracesim.trace.reader import read_trace

    data = changed_bytes(rng, changed_bytes(rng, rng.choice(SAMPLES).read_bytes()[:4000]))
    faults = []
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "trace"
        path.write_bytes(data)
        for trace_format in (None, rng.choice(list(FORMATS))):
            items = list(read_trace([path], trace_format=trace_format))
            if not items:
                faults.append(f"nothing at all as {trace_format}: {data[:99]!r}")
            bad = [
                item for item in items if isinstance(item, TraceProblem) and not item.message.isprintable()
            ]
            faults += [f"a message that is not printable as {trace_format}: {each}" for each in bad[:1]]
    return faults


KINDS: Final[dict[str, Callable[[Fuzzer, random.Random], list[str]]]] = {
    "command": Fuzzer.run_command,
    "screen": lambda fuzzer, rng: fuzzer.run_command(rng, on_terminal=True),
    "engine": _run_engine,
    "bytes": _run_bytes,
    "process": Fuzzer.run_process,
}
_WEIGHTS: Final = {"command": 50, "screen": 8, "engine": 25, "bytes": 25, "process": 1}


def fuzz(
    seed: str, *, seconds: float | None = None, cases: int | None = None, kinds: Sequence[str] = ()
) -> Fuzzer:
    """Run cases for so many seconds, or so many cases, and return what was found."""
    weights = {kind: weight for kind, weight in _WEIGHTS.items() if not kinds or kind in kinds}
    with tempfile.TemporaryDirectory(prefix="tracesim-fuzz-") as folder:
        fuzzer = Fuzzer(Path(folder))
        choose = random.Random(seed)
        started, number = time.monotonic(), 0
        while len(fuzzer.findings) < _MOST_FINDINGS:
            if (cases is not None and number >= cases) or (
                seconds is not None and time.monotonic() - started >= seconds
            ):
                break
            number += 1
            fuzzer.run(choose.choices(list(weights), list(weights.values()))[0], f"{seed}/{number}")
    return fuzzer


def main(arguments: Any = None) -> int:
    """Run the fuzzer from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--kind", action="append", choices=list(KINDS), default=[])
    parser.add_argument("--case", help="run one case again, and keep its inputs in fuzz-case/")
    options = parser.parse_args(arguments)
    if options.case:
        kind, _, seed = options.case.partition("/")
        fuzzer = Fuzzer(Path(tempfile.mkdtemp()))
        fuzzer.run(kind, seed)
        if kind in ("command", "screen", "process"):
            folder = Path("fuzz-case")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            case = draw_case(random.Random(f"{kind}/{seed}"), folder)
            print(f"cd {folder} && tracesim {shlex.join(case.arguments)}")  # noqa: T201
    else:
        fuzzer = fuzz(options.seed, seconds=options.seconds, kinds=options.kind)
    for finding in fuzzer.findings:
        print(f"{ascii(finding.fault)[1:-1]}\n    {finding.command}")  # noqa: T201
    counted = ", ".join(f"{count:,} {kind}" for kind, count in fuzzer.counts.items())
    print(f"{fuzzer.counts.total():,} cases ({counted}): {len(fuzzer.findings)} findings")  # noqa: T201
    return 1 if fuzzer.findings else 0


if __name__ == "__main__":
    sys.exit(main())
