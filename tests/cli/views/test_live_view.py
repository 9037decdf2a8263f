"""The live view: no row is lost, and the terminal is restored whatever ends the run."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
from collections.abc import Iterable

import pytest

from steps import a_step_record
from tracesim.engine.step_records import FinishedRequest, ScheduledTokens, StepRecord
from tracesim_cli.terminal.display import Display, choose_display, open_console
from tracesim_cli.terminal.lines import plain_text
from tracesim_cli.views.live_view import Footer, LiveView, StepView, open_view

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
PLAIN, LIVE = Display(live=False, width=100, color=False), Display(live=True, width=100, color=True)


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that is a terminal and counts its writes."""

    writes = 0

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


class ClosedPipe(Terminal):
    """A stream whose reader closes it before the row of step 3."""

    def write(self, text: str) -> int:
        if "row3" in text:
            raise BrokenPipeError
        return super().write(text)


def step(number: int, free_blocks: int | None = None) -> StepRecord:
    decode = [ScheduledTokens(f"row{number}", 5, 1)]
    finished = [FinishedRequest(f"row{number}", "stop", None)]
    counts = {"running": 7, "waiting": 3, "free_blocks": free_blocks}
    return a_step_record(number, decode=decode, finished=finished, **counts)


def show(view: StepView, numbers: Iterable[int], error: type[BaseException] | None = None) -> None:
    """Show some steps, and end with an error if there is one to raise."""
    with view:
        for number in numbers:
            view.on_step(step(number))
        if error:
            raise error


def shown(stream: io.StringIO) -> str:
    """Return what was written, without escape codes."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())


@pytest.mark.parametrize(
    ("environ", "terminal", "live", "color"),
    [
        ({"TERM": "xterm"}, True, True, True),
        ({"TERM": "xterm"}, False, False, False),
        ({"TERM": "xterm", "FORCE_COLOR": "1"}, False, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False, False),
        ({"FORCE_COLOR": "1", "CI": "true"}, True, False, True),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True, False, True),
        ({"FORCE_COLOR": "0"}, False, False, False),
        ({"FORCE_COLOR": ""}, False, False, False),
        ({"TERM": "dumb"}, True, False, False),
        ({"NO_COLOR": "1"}, True, False, False),
        ({"NO_COLOR": ""}, True, True, True),
        ({"CI": "true"}, True, False, False),
        ({"CI": "false"}, True, True, True),
    ],
)
def test_a_display_is_live_only_on_a_terminal_and_in_colour_there_or_if_forced(
    environ: dict[str, str], terminal: bool, live: bool, color: bool
) -> None:
    stream = Terminal() if terminal else io.StringIO()

    display = choose_display(environ, stream)

    assert (live, color) == (display.live, display.color)


@pytest.mark.parametrize(("columns", "width"), [("72", 72), (None, 100), ("0", 100), ("wide", 100)])
def test_the_width_is_columns_or_100(columns: str | None, width: int) -> None:
    """A stream without a size of its own is as wide as COLUMNS says, if that is a number."""
    environ = {} if columns is None else {"COLUMNS": columns}

    assert choose_display(environ, io.StringIO()).width == width


def test_plain_rows_are_only_text() -> None:
    """There are titles and a row per step, and no escape codes."""
    stream = io.StringIO()
    show(open_view(stream, PLAIN, requests=2), range(2))

    assert [line.split() for line in stream.getvalue().splitlines()] == [
        ["step", "prefill", "decode", "emitted", "finished"],
        ["0", "row0", "row0", "stop"],
        ["1", "row1", "row1", "stop"],
    ]


@pytest.mark.parametrize("display", [PLAIN, LIVE])
def test_rows_of_a_fast_run_are_drawn_together(display: Display) -> None:
    """A thousand steps in a second are about twelve writes, and every row is written."""
    stream, clock = Terminal(), Clock()
    with open_view(stream, display, requests=1000, clock=clock) as view:
        opening = stream.writes
        for number in range(1000):
            view.on_step(step(number))
            clock.now += 0.001

    assert stream.writes - opening <= 20
    assert re.findall(r"row(\d+) +row", shown(stream)) == [str(number) for number in range(1000)]


@pytest.mark.parametrize("display", [PLAIN, LIVE])
def test_with_a_delay_rows_appear_as_they_happen(display: Display) -> None:
    """A row is not buffered until a step that comes after the next redraw."""
    stream = Terminal()
    with open_view(stream, display, requests=3, delay=0.5, clock=Clock()) as view:
        for number in range(3):
            view.on_step(step(number))

            assert f"row{number} " in shown(stream)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("display", [PLAIN, LIVE])
def test_buffered_rows_survive_an_error(display: Display, error: type[BaseException]) -> None:
    """Every step is shown and the cursor is visible again, whatever ended the run."""
    stream = Terminal()
    with pytest.raises(error):
        show(open_view(stream, display, requests=3, clock=Clock()), range(3), error)

    assert "row2 " in shown(stream)
    assert stream.getvalue().count(HIDE_CURSOR) == stream.getvalue().count(SHOW_CURSOR)


@pytest.mark.parametrize("display", [PLAIN, LIVE])
def test_a_closed_pipe_reaches_the_caller(display: Display) -> None:
    """The error is raised unchanged, after the cursor is visible again."""
    stream = ClosedPipe()
    with pytest.raises(BrokenPipeError):
        show(open_view(stream, display, requests=9, delay=1.0), range(9))

    assert stream.getvalue().count(HIDE_CURSOR) == stream.getvalue().count(SHOW_CURSOR)


def test_an_interrupt_is_deferred_until_rows_are_drawn() -> None:
    """Ctrl-C in the middle of a write ends the run after that write, with no row torn or lost."""

    class Interrupted(Terminal):
        def write(self, text: str) -> int:
            if "row1" in text:
                signal.raise_signal(signal.SIGINT)
            return super().write(text)

    stream = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        show(open_view(stream, PLAIN, requests=9, delay=1.0), range(9))

    assert [line.split()[0] for line in stream.getvalue().splitlines()] == ["step", "0", "1"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_resize_starts_a_new_table() -> None:
    """Rows after it have the new layout, below titles of their own."""
    console = open_console(Terminal())
    console.width = 100
    with LiveView(console, Footer(2, None), delay=1.0) as view:
        view.on_step(step(0))
        console.width = 60
        view.on_step(step(1))
    file = console.file
    assert isinstance(file, Terminal)

    assert file.getvalue().count("step ") == 2
    assert "prefill:n decode" in file.getvalue()


@pytest.mark.parametrize("width", [20, 57, 97, 197])
def test_the_footer_shows_the_progress_of_the_run(width: int) -> None:
    """Progress, running, waiting, KV cache usage and speed, on two lines if one is too short."""
    clock = Clock()
    footer = Footer(4, 128)
    footer.start(clock)
    footer.count(step(0, free_blocks=100))
    clock.now = 0.5
    lines = [plain_text(line) for line in footer.lines(width)]

    assert max(map(len, lines)) <= width
    assert len(lines) == (1 if width > 90 else 2)
    assert width == 20 or "  ".join(lines).lstrip("━").split("  ") == [
        " 1/4 requests",
        "running 7",
        "waiting 3",
        "KV cache 28/128 blocks",
        "2 steps/s",
    ]


def test_a_narrow_footer_shortens_words_before_figures() -> None:
    """The speed stays visible beside long numbers."""
    footer = Footer(20_000, 20_000)
    clock = Clock()
    footer.start(clock)
    footer.count(a_step_record(running=1_024, waiting=18_976, free_blocks=200))
    clock.now = 0.0001

    assert plain_text(footer.lines(57)[1]) == "run 1,024  wait 18,976  KV 99%  10,000 steps/s"


def test_one_request_and_one_block_are_singular_in_the_footer() -> None:
    line = plain_text(Footer(1, 1).lines(100)[0])

    assert " 0/1 request  " in line
    assert "KV cache 0/1 block  " in line


def test_an_unlimited_cache_has_no_usage_in_the_footer() -> None:
    assert "KV cache unlimited" in plain_text(Footer(4, None).lines(100)[0])


def test_plain_rows_need_no_rich_console() -> None:
    """Rich's slow parts are imported for a terminal only."""
    code = (
        "import sys; from tracesim_cli.views import live_view, summary_view;"
        "print([name for name in ('rich.console', 'rich.text', 'rich.live') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert shown.strip() == "[]"
