"""`tracesim` as a process: closed streams, full disks, other encodings, and early interrupts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from paths import MILESTONE, SAMPLES
from steps import a_step, write_lines

REPLAY = f"replay {MILESTONE} --tokenizer char"

needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


def shell(command: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Run a shell command in which `tracesim` is the tested one."""
    script = f'tracesim() {{ "{sys.executable}" -m tracesim "$@"; }}; {command}'
    return subprocess.run(
        ["bash", "-c", script], env={**os.environ, **environ}, capture_output=True, check=False, timeout=60
    )


@pytest.mark.parametrize("output_format", ["table", "json"])
def test_files_are_written_whole_after_standard_output_is_closed(output_format: str, tmp_path: Path) -> None:
    steps, report = tmp_path / "steps.jsonl", tmp_path / "report.json"
    options = f"--format {output_format} --delay 0.01 --save-steps {steps} --save-report {report}"
    done = shell(f"tracesim {REPLAY} {options} | true; echo ${{PIPESTATUS[0]}}")

    assert (done.stdout, done.stderr) == (b"0\n", b"")
    assert (len(steps.read_text().splitlines()), report.read_text()[-2:]) == (12, "}\n")


def test_steps_are_compared_to_the_end_after_standard_output_is_closed(tmp_path: Path) -> None:
    expected = tmp_path / "steps.jsonl"
    shell(f"tracesim {REPLAY} --save-steps {expected}")
    options = f"--max-tokens 3 --delay 0.01 --expect {expected}"
    done = shell(f"tracesim {REPLAY} {options} | true; echo ${{PIPESTATUS[0]}}")

    assert (done.stdout, done.stderr) == (b"1\n", b"")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (f"{REPLAY} >&-", 0),
        (f"{REPLAY} 2>&-", 0),
        (f"validate {MILESTONE} >&-", 0),
        ("replay no/such/file 2>&-", 2),
        ("replay --no-such-option 2>&-", 2),
        ("replay - <&-", 2),
    ],
)
def test_a_closed_stream_is_not_an_error_and_errors_stay_off_standard_output(command: str, code: int) -> None:
    done = shell(f"tracesim {command}")

    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert code == 0 or done.stdout == b""


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("validate BAD", 1),
        ("validate BAD --format json", 1),
        ("inspect BAD --tokenizer char", 1),
        ("diff A B", 1),
        ("--help", 0),
        ("replay --help", 0),
        ("--version", 0),
    ],
)
def test_the_verdict_is_the_exit_code_over_a_closed_pipe(command: str, code: int, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt":"a","response":"b"}\n{}\n')
    files = {"BAD": bad, "A": tmp_path / "a.jsonl", "B": tmp_path / "b.jsonl"}
    write_lines(files["A"], a_step(0))
    write_lines(files["B"], a_step(0, running=2))
    words = [str(files.get(word, word)) for word in command.split()]
    done = shell(f"tracesim {' '.join(words)} | true; echo ${{PIPESTATUS[0]}}")

    assert int(done.stdout) == code
    assert b"Traceback" not in done.stderr


def test_all_output_reaches_a_pipe_before_the_process_ends() -> None:
    done = shell(f"tracesim {REPLAY} --format jsonl --max-steps 3 | cat; echo ${{PIPESTATUS[0]}}")

    assert (done.stdout.count(b'{"schema":'), done.stdout.splitlines()[-1]) == (3, b"3")
    assert b"stopped:" in done.stderr


@needs_dev_full
@pytest.mark.parametrize("command", ["--help", "--version", "replay --help", f"validate {MILESTONE}"])
def test_a_standard_output_that_cannot_be_written_is_an_error(command: str) -> None:
    done = shell(f"tracesim {command} > /dev/full")

    assert done.returncode == 2
    assert done.stderr == b"tracesim: error: standard output: No space left on device\n"


@needs_dev_full
def test_a_full_disk_is_an_error_with_the_name_of_the_file() -> None:
    done = shell(f"tracesim {REPLAY} --format summary --save-steps /dev/full")

    assert (done.returncode, b"/dev/full: No space left on device" in done.stderr) == (2, True)


def test_a_character_that_the_encoding_lacks_is_shown_as_an_escape() -> None:
    done = shell(
        f"tracesim replay {SAMPLES / 'chinese.jsonl'}; tracesim validate 漢", PYTHONIOENCODING="ascii"
    )

    assert done.stderr == b""
    assert b"\\u4e94" in done.stdout
    assert b"\\u6f22: error: no such file" in done.stdout


def test_an_interrupt_before_a_command_begins_is_quiet() -> None:
    """The interrupted import stands for all of them."""
    code = (
        "import sys, tracesim_cli.__main__ as entry\n"
        "class Interrupted:\n"
        "    def find_spec(self, *_): raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "entry.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
