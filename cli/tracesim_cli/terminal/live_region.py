"""Lines at the end of a terminal's output that are redrawn in place, below rows that scroll away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from tracesim_cli.terminal.lines import Fragment

if TYPE_CHECKING:
    from rich.console import Console

Line = Sequence[Fragment]

_HIDE_CURSOR: Final = "\x1b[?25l"
_SHOW_CURSOR: Final = "\x1b[?25h"
_BEGIN_UPDATE: Final = "\x1b[?2026h"  # a terminal that knows it shows all up to the end at once
_END_UPDATE: Final = "\x1b[?2026l"
_HOME: Final = "\x1b[H"
_CLEAR_BELOW: Final = "\x1b[J"
_CLEAR_REST: Final = "\x1b[K"  # of the line, from the cursor on; at its end that would clear its last cell


class LiveRegion:
    """The last lines on the terminal of `console`, redrawn with every `draw`.

    The cursor, which is hidden, stays at the end of the last line. The lines of the region must be shorter
    than the terminal is wide; rows may fill it.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._codes: dict[str, tuple[str, str]] = {"": ("", "")}
        self._height = 0
        self._is_open = False

    @property
    def size(self) -> tuple[int, int]:
        """The width and the height of the terminal, as they are now."""
        width, height = self._console.size
        return width, height

    def open(self) -> None:
        """Start at the position of the cursor, which must be the start of a line."""
        self._is_open = True
        self._height = 0
        self._write(_HIDE_CURSOR)

    def draw(self, rows: Sequence[Line], region: Sequence[Line]) -> None:
        """Add `rows` above the region, and draw the region, in one write."""
        parts = [_BEGIN_UPDATE, "\r"]
        if self._height > 1:
            parts.append(f"\x1b[{self._height - 1}A")
        for row in rows:
            parts += [_CLEAR_REST, self.styled(row), "\n"]
        parts.append(self._region(region))
        self._write("".join(parts))

    def repaint(self, rows: Sequence[Line], region: Sequence[Line]) -> None:
        """Draw the whole screen after its size has changed: the last `rows` that fit, and the region.

        A terminal may have wrapped or moved lines then, so that nothing is where it was.
        """
        fitting = max(0, self.size[1] - len(region))
        parts = [_BEGIN_UPDATE, _HOME]
        for row in rows[max(0, len(rows) - fitting) :]:
            parts += [_CLEAR_REST, self.styled(row), "\n"]
        parts.append(self._region(region))
        self._write("".join(parts))

    def close(self) -> None:
        """Remove the region and show the cursor."""
        if not self._is_open:
            return
        self._is_open = False
        up = f"\x1b[{self._height - 1}A" if self._height > 1 else ""
        clear = f"\r{up}{_CLEAR_BELOW}" if self._height else ""
        self._height = 0
        self._write(f"{clear}{_SHOW_CURSOR}")

    def styled(self, line: Line) -> str:
        """Return a line with the terminal's codes for its styles."""
        codes = self._codes
        parts = []
        for text, style in line:
            if style not in codes:
                codes[style] = self._codes_of(style)
            before, after = codes[style]
            parts.append(f"{before}{text}{after}")
        return "".join(parts)

    def _region(self, region: Sequence[Line]) -> str:
        self._height = len(region)
        lines = "\n".join([f"{self.styled(line)}{_CLEAR_REST}" for line in region])
        return f"{lines}{_CLEAR_BELOW}{_END_UPDATE}"

    def _codes_of(self, style: str) -> tuple[str, str]:
        """Return what the console writes before and after a text in a style."""
        from rich.segment import Segment, Segments

        with self._console.capture() as capture:
            self._console.print(Segments([Segment("x", self._console.get_style(style))]), end="")
        before, _, after = capture.get().partition("x")
        return before, after

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()
