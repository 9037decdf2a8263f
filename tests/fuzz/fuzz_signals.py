"""Runs that are killed, interrupted or terminated at random moments while they save files.

    make fuzz-signals RUNS=200

After each run every file must be as it was before or as a whole run writes it, nothing must be left
behind, no output may have a traceback, and the exit code must be that of the signal. Then the disk is
full, and streams are closed.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

OLD: Final = b"the file before\n"
_COMMANDS: Final = {
    "steps": ["replay", "trace.jsonl", "--format", "summary", "--save-steps", "FILE"],
    "report": ["replay", "trace.jsonl", "--format", "summary", "--save-report", "FILE"],
    "requests": ["replay", "trace.jsonl", "--format", "summary", "--save-requests", "FILE"],
    "html": ["replay", "trace.jsonl", "--format", "summary", "--save-html", "FILE"],
    "perfetto": ["replay", "trace.jsonl", "--format", "summary", "--save-perfetto", "FILE"],
    "convert": ["convert", "trace.jsonl", "FILE"],
    "compressed": ["convert", "trace.jsonl", "FILE.gz"],
}
_OWN_FRAME: Final = re.compile(rb'File "[^"]*/(tracesim|tracesim_cli)/')
_SIGNALS: Final = {signal.SIGKILL: {-9, 0}, signal.SIGINT: {130, 0, -2}, signal.SIGTERM: {143, 0, -15}}
"""Exit codes of a run that gets a signal: its own, of a run that was over, or before Python has begun."""


def write_trace(path: Path) -> None:
    """Write a trace whose replay takes a few tenths of a second, with any file of it."""
    rng = random.Random(1)
    words = [f"{rng.choice('abcdefgh')}{number}" for number in range(999)]
    records = [
        {
            "id": f"r{number}",
            "prompt": " ".join(rng.choices(words, k=5)),
            "response": " ".join(rng.choices(words, k=30)),
        }
        for number in range(150)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def command_of(kind: str, *, existing: bool) -> tuple[list[str], str]:
    """Return the command that saves a kind of file, and the name of the file."""
    command = [part.replace("FILE", f"{kind}.out") for part in _COMMANDS[kind]]
    name = next(part for part in command if part.startswith(f"{kind}.out"))
    return [sys.executable, "-m", "tracesim_cli", *command, *(["--force"] if existing else [])], name


def normal(content: bytes) -> bytes:
    """Return a file without what differs from run to run."""
    return re.sub(rb"div-[0-9a-f-]+|[0-9a-f]{8}-[0-9a-f-]{27}|sha256-[^']*", b"", content)


def _accept_interrupts() -> None:
    """Undo that a shell lets its background jobs ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Results:
    """What the runs have shown: how many of each kind, and what was wrong."""

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.faults: list[str] = []

    def add(self, name: str, code: int, faults: Sequence[str]) -> None:
        """Count a run."""
        self.runs[name] += 1
        self.codes[f"{name.rpartition(' ')[2]} {code}"] += 1
        self.faults += [f"{name}: {fault}" for fault in faults]


def run_with_signal(
    folder: Path, kind: str, number: signal.Signals, delay: float, whole: bytes, *, existing: bool
) -> tuple[int, list[str]]:
    """Run a command, send it a signal after `delay` seconds, and return its exit code and what is wrong."""
    command, name = command_of(kind, existing=existing)
    file = folder / name
    file.unlink(missing_ok=True)
    if existing:
        file.write_bytes(OLD)
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_accept_interrupts
    )
    time.sleep(delay)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    faults = []
    # An interrupt that comes while Python itself starts ends with its traceback and code 1.
    is_in_start = b"Traceback" in stderr and not _OWN_FRAME.search(stderr)
    if process.returncode not in _SIGNALS[number] and not (is_in_start and process.returncode == 1):
        faults.append(f"exit code {process.returncode}: {stderr.decode(errors='replace')[-400:]}")
    elif b"Traceback" in stderr and not is_in_start:
        faults.append(f"a traceback: {stderr.decode(errors='replace')[-400:]}")
    content = file.read_bytes() if file.exists() else None
    if content not in (OLD if existing else None, None if not existing else OLD) and normal(
        content or b""
    ) != normal(whole):
        faults.append(f"the file is torn: {len(content or b'')} of {len(whole)} bytes")
    if number != signal.SIGKILL:
        faults += [f"{each.name} is left behind" for each in folder.glob(".tracesim-*")]
    return process.returncode, faults


def run_all(
    folder: Path, runs: int, rng: random.Random, results: Results, signals: Collection[signal.Signals]
) -> None:
    """Run every kind with every signal, `runs` times each."""
    for kind in _COMMANDS:
        command, name = command_of(kind, existing=False)
        started = time.monotonic()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        seconds = time.monotonic() - started
        whole = (folder / name).read_bytes()
        for number in signals:
            # Each kind of file is killed so often; the other signals come so often in all.
            for at in range(runs if number == signal.SIGKILL else -(-runs // len(_COMMANDS))):
                code, faults = run_with_signal(
                    folder, kind, number, rng.random() * seconds * 1.1, whole, existing=at % 2 == 0
                )
                results.add(f"{kind} {number.name}", code, faults)
        (folder / name).unlink(missing_ok=True)
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        left = [each.name for each in folder.glob(".tracesim-*")]
        results.faults += [f"{kind}: {each} is left after the next run" for each in left]


def faults_of_full_disks(folder: Path) -> Iterator[str]:
    """Yield what is wrong where a file cannot be written whole."""
    for kind in _COMMANDS:
        command, name = command_of(kind, existing=True)
        (folder / name).write_bytes(OLD)
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        )
        if (
            done.returncode != 2
            or b"Traceback" in done.stderr
            or not done.stderr.startswith(b"tracesim: error")
        ):
            yield f"{kind}, a full disk: exit code {done.returncode}, {done.stderr[-300:]!r}"
        if (folder / name).read_bytes() != OLD:
            yield f"{kind}, a full disk: the file is not the one before"
        (folder / name).unlink()
        full = [part.replace(name, "/dev/full") for part in command]
        done = subprocess.run(full, cwd=folder, capture_output=True, check=False)
        if done.returncode != 2 or b"Traceback" in done.stderr:
            yield f"{kind} to /dev/full: exit code {done.returncode}, {done.stderr[-300:]!r}"
    yield from (f"a full disk: {each.name} is left behind" for each in folder.glob(".tracesim-*"))


def faults_of_closed_streams(folder: Path) -> Iterator[str]:
    """Yield what is wrong where streams are closed, full, or no longer read."""
    commands = (
        "replay trace.jsonl",
        "replay trace.jsonl --format jsonl",
        "replay trace.jsonl --format json",
        "validate trace.jsonl",
        "inspect trace.jsonl",
        "convert trace.jsonl -",
        "--help",
        "replay --help",
        "--version",
    )
    endings = {
        ">&-": {0},
        "2>&-": {0},
        "<&-": {0},
        ">&- 2>&- <&-": {0},
        ">/dev/full": {2},
        "| true": {0},
        "| head -c 9": {0},
    }
    for command in commands:
        for ending, codes in endings.items():
            line = f"set -o pipefail; {sys.executable} -m tracesim_cli {command} {ending}"
            done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, check=False)
            if done.returncode not in codes or b"Traceback" in done.stderr or b"Exception" in done.stderr:
                yield f"{command} {ending}: exit code {done.returncode}, {done.stderr[-300:]!r}"


def main() -> int:
    """Run everything and print counts and faults."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--runs", type=int, default=20, help="kills for each kind of file, and each other signal in all"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--signal", choices=[each.name for each in _SIGNALS], help="only this signal")
    options = parser.parse_args()
    results = Results()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_trace(folder / "trace.jsonl")
        signals = [each for each in _SIGNALS if options.signal in (None, each.name)]
        run_all(folder, options.runs, random.Random(options.seed), results, signals)
        results.faults += [*faults_of_full_disks(folder), *faults_of_closed_streams(folder)]
    for fault in results.faults[:50]:
        print(ascii(fault)[1:-1])  # noqa: T201
    codes = ", ".join(f"{code}: {count}" for code, count in sorted(results.codes.items()))
    print(f"{results.runs.total():,} runs ({codes}): {len(results.faults)} faults")  # noqa: T201
    return 1 if results.faults else 0


if __name__ == "__main__":
    sys.exit(main())
