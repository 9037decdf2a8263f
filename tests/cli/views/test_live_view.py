"""The live view: no row is lost, and the terminal is restored whatever ends the run."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import pytest

from factories import a_record, an_engine
from tracesim import LLMEngine
from tracesim_cli.terminal.display import Display, choose_display
from tracesim_cli.terminal.exit_codes import StoppedByUserError
from tracesim_cli.terminal.keys import Key, NoKeys
from tracesim_cli.terminal.lines import Fragment, plain_text
from tracesim_cli.terminal.live_region import LiveRegion
from tracesim_cli.views.live_view import open_view
from tracesim_cli.views.row_view import StepView

T = TypeVar("T")

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
PLAIN, LIVE = Display(live=False, width=100, color=False), Display(live=True, width=100, color=True)


@pytest.fixture(autouse=True)
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test depend on real time."""
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)


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
        if re.search(r" 3\b", text):
            raise BrokenPipeError
        return super().write(text)


def an_engine_with(tokens: int = 9, **settings: Any) -> LLMEngine:
    """Return an engine with a request, row, that emits so many tokens, one in each step after the first."""
    return an_engine([a_record("row", input_length=1, output_length=tokens)], **settings)


class PressedKeys(NoKeys):
    """Keys that are pressed in turn: the first at once, the others when the view has waited for a while."""

    is_active = True

    def __init__(self, clock: Clock, pressed: Sequence[Key]) -> None:
        self.clock = clock
        self.is_restored = False
        self.waits = 0
        self._pressed = list(pressed)
        self._has_pressed_first = False

    def wait(self, seconds: float) -> list[Key]:
        self.clock.now += seconds
        self.waits += seconds > 0
        assert self.waits < 1000, "the view waits for a key that never comes"
        is_time = self.waits % 3 == 2 if self._has_pressed_first else True
        if not self._pressed or not is_time or (self._has_pressed_first and not seconds):
            return []
        self._has_pressed_first = True
        return [self._pressed.pop(0)]

    def restore(self) -> None:
        self.is_restored = True


def in_turn(first: Callable[[T], object], second: Callable[[T], object]) -> Callable[[T], object]:
    """Return a function that calls both."""

    def call(value: T) -> None:
        first(value)
        second(value)

    return call


class View(NamedTuple):
    """A view of an engine, and what it draws on."""

    view: StepView
    engine: LLMEngine
    stream: io.StringIO
    keys: PressedKeys
    seconds: float = 1.0

    def run(self, after_step: Callable[[int], object] = lambda _number: None) -> None:
        """Run the engine in the view, a second for each step; `after_step` is called when the view has it."""
        view = self.view

        def pass_time(number: int) -> None:
            after_step(number)
            self.keys.clock.now += self.seconds

        with view:
            if view.on_stride is None:
                assert view.on_step is not None
                self.engine.run(in_turn(view.on_step, lambda record: pass_time(record.step)))
            else:
                follow = in_turn(view.on_stride, lambda record: pass_time(record.step))
                self.engine.run(view.on_step, on_stride=follow)


def a_view(
    display: Display,
    engine: LLMEngine | None = None,
    stream: io.StringIO | None = None,
    pressed: Sequence[Key] = (),
    *,
    folds: bool = False,
    delay: float = 0.0,
) -> View:
    engine, stream, clock = engine or an_engine_with(), stream or Terminal(), Clock()
    keys = PressedKeys(clock, pressed)
    view = open_view(stream, display, engine, folds=folds, delay=delay, clock=clock, keys=keys)
    return View(view, engine, stream, keys)


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
    view = a_view(PLAIN, an_engine_with(2))
    view.run()

    assert [line.split() for line in view.stream.getvalue().splitlines()] == [
        ["step", "prefill", "decode", "emitted", "finished"],
        ["0", "row:1"],
        ["1", "row", "row", "·"],
        ["2", "row", "row", "·", "row", "stop"],
    ]


@pytest.mark.parametrize("display", [PLAIN, LIVE])
def test_rows_of_a_fast_run_are_drawn_together(display: Display) -> None:
    """A thousand steps in a second are about twelve writes, and every row is written."""
    view = a_view(display, an_engine_with(1000))._replace(seconds=0.001)
    view.run()
    stream = view.stream
    assert isinstance(stream, Terminal)

    assert stream.writes <= 24
    assert re.findall(r"(\d+) +row +row ·", shown(stream)) == [str(number) for number in range(1, 1001)]


@pytest.mark.parametrize("display", [PLAIN, LIVE])
def test_with_a_delay_rows_appear_as_they_happen(display: Display) -> None:
    """A row is not buffered until a step that comes after the next redraw."""
    view = a_view(display, delay=0.09)
    seen: list[bool] = []
    view.run(lambda number: seen.append(f" {number}  " in shown(view.stream)))

    assert seen == [True] * 10


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("display", [PLAIN, LIVE])
def test_buffered_rows_survive_an_error(display: Display, error: type[BaseException]) -> None:
    """Every step is shown and the terminal is restored, whatever ended the run."""
    view = a_view(display)

    def fail_at_step_2(number: int) -> None:
        if number == 2:
            raise error

    with pytest.raises(error):
        view.run(fail_at_step_2)

    assert re.search(r"2 +row +row ·", shown(view.stream))
    assert view.stream.getvalue().count(HIDE_CURSOR) == view.stream.getvalue().count(SHOW_CURSOR)
    assert view.keys.is_restored == (display is LIVE)


@pytest.mark.parametrize("display", [PLAIN, LIVE])
def test_a_closed_pipe_reaches_the_caller(display: Display) -> None:
    """The error is raised unchanged, after the terminal is restored."""
    view = a_view(display, stream=ClosedPipe(), delay=0.09)
    with pytest.raises(BrokenPipeError):
        view.run()

    assert view.stream.getvalue().count(HIDE_CURSOR) == view.stream.getvalue().count(SHOW_CURSOR)
    assert view.keys.is_restored == (display is LIVE)


def test_an_interrupt_is_deferred_until_rows_are_drawn() -> None:
    """Ctrl-C in the middle of a write ends the run after that write, with no row torn or lost."""

    class Interrupted(Terminal):
        def write(self, text: str) -> int:
            if "  1 " in text:
                signal.raise_signal(signal.SIGINT)
            return super().write(text)

    view = a_view(PLAIN, stream=Interrupted(), delay=0.09)
    with pytest.raises(KeyboardInterrupt):
        view.run()

    assert [line.split()[0] for line in view.stream.getvalue().splitlines()] == ["step", "0", "1"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def moments(view: View) -> list[int]:
    """Run, and return the steps after which the view waited for a key."""
    found = []
    before = 0

    def note(number: int) -> None:
        nonlocal before
        waits, before = view.keys.waits - before, view.keys.waits
        if waits:
            found.append(number)

    view.run(note)
    return found


def test_space_pauses_and_goes_on() -> None:
    """The key is read after step 1, when the frame after the opening one is due."""
    view = a_view(LIVE, pressed=["space", "space"])

    assert moments(view) == [1]
    assert "paused" in view.stream.getvalue()


def test_the_right_arrow_goes_one_step() -> None:
    view = a_view(LIVE, pressed=["space", "right", "right", "space"])

    assert moments(view) == [1, 2, 3]


def test_n_goes_to_the_next_event() -> None:
    """After the first token in step 1 that is the end in step 9."""
    view = a_view(LIVE, pressed=["space", "next", "space"])

    assert moments(view) == [1, 9]


def test_q_ends_the_run_and_restores_the_terminal() -> None:
    view = a_view(LIVE, pressed=["space", "right", "quit"])
    with pytest.raises(StoppedByUserError, match="after 3 steps, with 1 of 1 request unfinished"):
        view.run()

    assert view.keys.is_restored
    assert shown(view.stream).count("row:1") == 1


@pytest.mark.parametrize("folds", [False, True])
def test_a_resize_draws_the_whole_screen(folds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Titles and rows have the new layout, from the top of the screen, and the rest is cleared."""
    size = [100, 30]
    monkeypatch.setattr(LiveRegion, "size", property(lambda _: tuple(size)))
    view = a_view(LIVE, folds=folds)

    def resize(number: int) -> None:
        if number == 1:
            size[0] = 60

    view.run(resize)
    screens = view.stream.getvalue().split("\x1b[H")
    lines = shown(io.StringIO(screens[1])).splitlines()

    assert len(screens) == 2
    assert lines[0].split()[0] == "step"
    assert max(map(len, lines)) <= 60
    assert "\x1b[J" in screens[1]


@pytest.mark.parametrize("folds", [False, True])
@pytest.mark.parametrize("height", [1, 2, 5, 9, 24, 60])
@pytest.mark.parametrize("width", [5, 40, 60, 80, 120, 200, 250])
def test_the_panel_leaves_lines_for_rows_and_is_narrower_than_the_screen(
    width: int, height: int, folds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Sequence[Sequence[Fragment]]] = []
    monkeypatch.setattr(LiveRegion, "size", property(lambda _: (width, height)))
    monkeypatch.setattr(LiveRegion, "draw", lambda _, _rows, region: drawn.append(region))
    a_view(LIVE, folds=folds).run()
    lines = [plain_text(line) for region in drawn for line in region]

    assert len(drawn) > 3
    assert max(map(len, drawn)) <= max(1, height - 2)
    assert max(map(len, lines), default=0) < width


def test_the_legend_is_shown_once_above_the_live_table() -> None:
    view = a_view(LIVE)
    view.run()

    assert shown(view.stream).count("prefill of 8 tokens") == 1


def test_folded_rows_are_written_once_each_and_the_last_one_at_the_end() -> None:
    view = a_view(PLAIN, folds=True)
    view.run()

    assert [line.split() for line in view.stream.getvalue().splitlines()] == [
        ["step", "steps", "decodes", "tokens", "prefill", "finished", "waiting"],
        ["0", "row:1"],
        ["1", "1", "1", ">row"],
        ["2-9", "8", "1", "8", "row", "stop"],
    ]


def test_plain_rows_need_no_rich_console() -> None:
    """Rich's slow parts are imported for a terminal only."""
    code = (
        "import sys; from tracesim_cli.views import live_view, summary_view;"
        "print([name for name in ('rich.console', 'rich.text', 'rich.live') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert shown.strip() == "[]"


def test_a_stopped_process_leaves_the_terminal_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-Z removes the panel, shows the cursor and gives the keyboard back until the process continues."""
    view = a_view(LIVE)
    states: list[tuple[bool, bool]] = []

    def stop(_process: int, number: int) -> None:
        written = view.stream.getvalue()
        states.append((written.endswith(SHOW_CURSOR), view.keys.is_restored))
        assert number == signal.SIGTSTP
        assert signal.getsignal(number) == signal.SIG_DFL

    monkeypatch.setattr(os, "kill", stop)
    handler = signal.getsignal(signal.SIGTSTP)
    view.run(lambda number: signal.raise_signal(signal.SIGTSTP) if number == 3 else None)

    assert states == [(True, True)]
    assert signal.getsignal(signal.SIGTSTP) == handler
    assert view.stream.getvalue().count(HIDE_CURSOR) == view.stream.getvalue().count(SHOW_CURSOR) == 2
    assert len(re.findall(r"\d +row +row ·", shown(view.stream))) == 9
