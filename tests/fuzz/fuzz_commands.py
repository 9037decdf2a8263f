"""Random command lines and inputs: each option of each command, and changed samples of every format."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from fuzz_values import FLOATS, INTEGERS, TEXTS, changed, changed_bytes, changed_table, compressed, to_json
from typer.main import get_command

from paths import ROOT
from tracesim_cli.main import app

SAMPLES: Final = (
    *sorted((ROOT / "sample_traces").glob("*.jsonl")),
    *sorted((ROOT / "sample_traces" / "formats").iterdir()),
)
_MOST_LINES: Final = 12
_MOST_BYTES: Final = 40_000
_KNOWN: Final = {
    "clock": (
        "steps",
        "constant:20ms",
        "constant:0",
        "linear:base=5ms,prefill=50us,decode=80us,context=1ns",
        "linear:base=1e9s",
        "constant:1e296s",
        "clock.toml",
    ),
    "arrivals": (
        "trace",
        "asap",
        "poisson:2",
        "constant:1e-300",
        "closed:3",
        "closed:999999999",
        "poisson:1e308",
    ),
    "tokenizer": (
        "char",
        "byte",
        "char",
        "embedded",
        "tokenizer.json",
        "vocabulary.tiktoken",
        "nothing.json",
    ),
    "slo": ("ttft=500ms,tpot=50ms", "ttft=0.5", "e2e=1e400", "x=1"),
    "stop": ("a", "", "\udcff", "\n", "the"),
    "case": ("a", "x"),
    "expect": ("steps.log", "golden.log", "none.log"),
    "profile": ("vllm-serve", "clock.toml", "none.toml", "x"),
}
_FILES: Final = ("out", "out.gz", "out.zst", "no/folder/out", "/dev/null", "/dev/full", ".", "")
_SKIPPED: Final = frozenset({"delay", "help", "version"})
"""Options that are not drawn: `--delay` makes a run wait."""


class Case(NamedTuple):
    """A command in a folder with its inputs, what it prints, and whether it may be run on a terminal."""

    arguments: list[str]
    stdin: bytes
    shown: str


@cache
def options_of(command: str) -> Sequence[Any]:
    """Return the options of a command, as Typer has them."""
    group: Any = get_command(app)
    return [each for each in group.get_command(None, command).params if each.param_type_name == "option"]


def draw_options(rng: random.Random, command: str, most: int) -> Iterator[str]:
    """Yield some options of a command with values of which most are accepted."""
    known = [each for each in options_of(command) if each.name not in _SKIPPED]
    for option in rng.sample(known, min(len(known), rng.randrange(most + 1))):
        yield rng.choice([*option.opts, *option.secondary_opts])
        if getattr(option, "is_flag", False):
            continue
        yield _value(rng, option)


def _value(rng: random.Random, option: Any) -> str:
    choices = getattr(option.type, "choices", None)
    if choices and rng.random() < 0.9:
        return str(rng.choice(list(choices)))
    if option.name in _KNOWN and rng.random() < 0.9:
        return rng.choice(_KNOWN[option.name])
    if option.name.startswith("save_"):
        return rng.choice(_FILES)
    if "int" in option.type.name or "float" in option.type.name:
        small = (1, 2, 3, 4, 8, 16, 100, 2048, 0.5, 0.01)
        return str(
            rng.choice(small if rng.random() < 0.7 else (*INTEGERS, *FLOATS, "x", "9" * 5000, "nan", "inf"))
        )
    return rng.choice(TEXTS).replace("\0", "")


def draw_trace(rng: random.Random, folder: Path, name: str) -> tuple[str, str | None]:
    """Write a changed sample into `folder`; return the name of its file and, sometimes, a format to name."""
    sample = rng.choice(SAMPLES)
    text = sample.read_text(encoding="utf-8")
    changes = rng.choice((0, 1, 1, 2, 3))
    if sample.suffix == ".csv":
        lines = text.splitlines()[:_MOST_LINES]
        data = (changed_table(rng, "\n".join(lines)) if changes else "\n".join(lines)).encode(
            "utf-8", "replace"
        )
    elif sample.suffix == ".json":
        value = json.loads(text)
        for _ in range(changes):
            value = changed(rng, value)
        data = to_json(rng, value, rng.choice((None, 1)))
    else:
        records = [json.loads(line) for line in text.splitlines()[:_MOST_LINES] if len(line) < _MOST_BYTES]
        for _ in range(changes if records else 0):
            at = rng.randrange(len(records))
            records[at] = changed(rng, records[at])
        if rng.random() < 0.1:
            data = to_json(rng, records)
        else:
            data = b"".join(to_json(rng, record) + b"\n" for record in records)
    if rng.random() < 0.3:
        data = changed_bytes(rng, data)
    suffix = sample.suffix
    if rng.random() < 0.1:
        suffix, data = compressed(rng, data)
    path = folder / f"{name}{suffix}"
    path.write_bytes(data)
    named = sample.stem.partition(".")[0].replace("_", "-") if sample.parent.name == "formats" else "tracesim"
    formats = next(each.type.choices for each in options_of("validate") if each.name == "trace_format")
    return path.name, named if named in formats and rng.random() < 0.5 else rng.choice(
        (None, None, rng.choice(list(formats)))
    )


def draw_log(rng: random.Random, path: Path) -> None:
    """Write a changed step log, or a changed golden case."""
    if path.name.startswith("golden"):
        with gzip.open(
            ROOT / "tests" / "golden" / f"{rng.choice(('v0', 'v1', 'v1_async'))}.jsonl.gz"
        ) as lines:
            records: list[Any] = [json.loads(next(lines))]
        records[0]["steps"] = records[0]["steps"][:_MOST_LINES]
    else:
        text = (ROOT / "tests" / "golden" / "milestone.steps.jsonl").read_text(encoding="utf-8")
        records = [json.loads(line) for line in text.splitlines()[:_MOST_LINES]]
    for _ in range(rng.choice((0, 1, 1, 2))):
        at = rng.randrange(len(records))
        records[at] = changed(rng, records[at])
    data = b"".join(to_json(rng, record) + b"\n" for record in records)
    path.write_bytes(changed_bytes(rng, data) if rng.random() < 0.15 else data)


def draw_report(rng: random.Random, path: Path) -> None:
    """Write a changed report."""
    report = json.loads((ROOT / "tests" / "golden" / "milestone.report.json").read_text(encoding="utf-8"))
    for _ in range(rng.choice((0, 1, 1, 2))):
        report = changed(rng, report)
    data = to_json(rng, report)
    path.write_bytes(changed_bytes(rng, data) if rng.random() < 0.15 else data)


def draw_case(rng: random.Random, folder: Path) -> Case:
    """Write the inputs of a random command into `folder` and return the command."""
    for each in folder.iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()
    command = rng.choice(("replay", "replay", "replay", "validate", "inspect", "convert", "diff", "compare"))
    options = list(draw_options(rng, command, 5))
    stdin = b""
    if command == "diff":
        for name in ("steps.log", "golden.log", "other.log"):
            draw_log(rng, folder / name)
        a = rng.choice(("steps.log", "golden.log"))
        files = [a, rng.choice((a, "other.log", "golden.log", "none.log", "-"))]
    elif command == "compare":
        for name in ("a.json", "b.json"):
            draw_report(rng, folder / name)
        draw_log(rng, folder / "steps.log")
        others = ("b.json", "b.json", "b.json", "steps.log", "none.json", "-", "vllm-serve")
        files = ["a.json", *rng.choices(others, k=rng.choice((1, 1, 2)))]
    else:
        files, trace_format = _draw_traces(rng, folder)
        if trace_format and "--trace-format" not in options:
            options += ["--trace-format", trace_format]
        if rng.random() < 0.1:
            stdin = (folder / files[0]).read_bytes()
            files[0] = "-"
    if command == "convert":
        files.append(rng.choice((*_FILES, "-", "-", "out", "out")))
    if command == "replay":
        _write_side_files(rng, folder)
        options += _usual_options(rng, options)
    is_json = _prints_json(options) or (command == "convert" and files[-1] == "-")
    return Case([command, *files, *options], stdin, "json" if is_json else "text")


def _draw_traces(rng: random.Random, folder: Path) -> tuple[list[str], str | None]:
    """Write one or two traces; return the names of their files, and sometimes a format to name."""
    files = []
    trace_format = None
    for number in range(rng.choice((1, 1, 1, 2))):
        name = rng.choice((f"t{number}", f"t{number}", _odd_name(rng)))
        name, trace_format = draw_trace(rng, folder, name)
        files.append(name)
    if rng.random() < 0.03:
        files.append(rng.choice(("none.jsonl", ".", "", "no/folder")))
    return files, trace_format


def _usual_options(rng: random.Random, options: Sequence[str]) -> list[str]:
    """Return options without which most replays take long: a small tokenizer, and an end."""
    usual = [] if "--tokenizer" in options else ["--tokenizer", "char"]
    records_steps = not {"table", "jsonl", "--expect"}.isdisjoint(options) or "--format" not in options
    if records_steps or any(each.startswith("--save") for each in options) or rng.random() < 0.5:
        usual += ["--max-steps", "200"]
    return usual


def _prints_json(options: Sequence[str]) -> bool:
    return any(
        name == "--format" and value not in ("table", "summary", "text") for name, value in pairwise(options)
    )


def _odd_name(rng: random.Random) -> str:
    """Return a name for a file that is hard to print; bytes that are not UTF-8 are among them."""
    text = rng.choice((*TEXTS, "\udcff", "a\udc80b", "a\nb")).replace("/", "").replace("\0", "")[:60]
    return text if text.strip(".") and not text.startswith("-") else "odd"


def _write_side_files(rng: random.Random, folder: Path) -> None:
    for name in ("steps.log", "golden.log"):
        draw_log(rng, folder / name)
    toml = '[clock]\nbase = "5ms"\nprefill = "50us"\n[engine]\nmax_num_seqs = 4\n'
    values = (
        *map(str, INTEGERS),
        "9" * 5000,
        "[" * 3000,
        "nan",
        "-inf",
        '"1e300s"',
        "true",
        "0x" + "f" * 9000,
        "{}",
    )
    if rng.random() < 0.7:
        toml = toml.replace(rng.choice(('"5ms"', '"50us"', "4")), rng.choice(values))
    (folder / "clock.toml").write_bytes(
        toml.encode() if rng.random() < 0.8 else changed_bytes(rng, toml.encode())
    )
    vocabulary = "".join(f"{value} {rank}\n" for rank, value in enumerate(_single_bytes()))
    data = vocabulary.encode()
    (folder / "vocabulary.tiktoken").write_bytes(data if rng.random() < 0.3 else changed_bytes(rng, data))
    tokenizer = changed(rng, _tokenizer())
    (folder / "tokenizer.json").write_bytes(to_json(rng, tokenizer))


@cache
def _single_bytes() -> Sequence[str]:
    import base64

    return [base64.b64encode(bytes([byte])).decode() for byte in range(256)]


@cache
def _tokenizer() -> Any:
    """Return a small `tokenizer.json` with the bytes of a byte-level vocabulary and a merge."""
    from tracesim.tokenizers.byte_level import spell_bytes

    vocabulary = {spell_bytes(bytes([byte])): byte for byte in range(256)}
    vocabulary["th"] = 256
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "vocab": vocabulary, "merges": ["t h"]},
    }
