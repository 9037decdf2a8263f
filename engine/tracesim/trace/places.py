"""Places in a trace: one number for a file and a line of it, over all files of the trace."""

from __future__ import annotations

from tracesim.trace.problems import quote


class Places:
    """Numbers the lines of all files of a trace consecutively.

    `file` and `line` are where the reader is now; a line counts from 1 in its file. Where a format keeps
    entries back until later files are read, `move_to` returns to the place of an entry.
    """

    def __init__(self) -> None:
        self.file = ""
        self.line = 0
        self.lines_before = 0
        self._starts: list[tuple[int, str]] = []

    def open_file(self, file: str) -> None:
        """Begin a new file, whose lines follow those of the file that was read last."""
        self.lines_before += self.line
        self.file, self.line = file, 0
        self._starts.append((self.lines_before, file))

    def move_to(self, file: str, line: int) -> None:
        """Go to a line of a file that was opened before."""
        if file != self.file:
            self.file = file
            self.lines_before = next(start for start, name in self._starts if name == file)
        self.line = line

    def describe(self, place: int) -> str:
        """Return a place in words, such as `line 3`, and the name of its file where it is another one."""
        if place > self.lines_before:
            return f"line {place - self.lines_before}"
        start, file = max(start for start in self._starts if start[0] < place)
        return f"line {place - start} of {file if file.isprintable() else quote(file)}"
