"""From a path to its bytes, by lines or in chunks: opening, unpacking and splitting, in bounded memory."""

from __future__ import annotations

import io
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from tracesim.errors import TraceProblem
from tracesim.trace.problems import problem

MAX_LINE_BYTES = 64 * 1024 * 1024

_BUFFER = 256 * 1024
_NEWLINE = ord("\n")
_BLANKS = b" \t\r\n"
_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# A packed byte unfolds to at most 1,032 bytes (gzip) or 32,768 (zstd): so much is unpacked at a time.
_GZIP_BITE = 16 * 1024
_ZSTD_BITE = 1024


class _BrokenStreamError(Exception):
    """Packed data ends early or is damaged."""


_FAILURES = (_BrokenStreamError, OSError, ValueError, ImportError)


class TraceFile:
    r"""One trace file, unpacked, to be read once: by `lines` or in `chunks`. Only b"\n" ends a line.

    Nothing is raised for what the file is or holds: a `TraceProblem` stands where something is wrong, and
    `failure` is the one that lets nothing be read. `head` is how the content begins, as far as one look
    shows. A line over `max_line_bytes` is replaced by its problem and never held whole. `line_number` counts
    the lines that were read.
    """

    def __init__(self, path: str | os.PathLike[str], max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self.path = os.fspath(path)
        self.name = "<stdin>" if self.path == "-" else self.path
        self.max_line_bytes = max_line_bytes
        self.line_number = 0
        self.head = b""
        self.failure: TraceProblem | None = None
        self._starts_with_bom = False
        self._stack = ExitStack()

    def __enter__(self) -> TraceFile:
        try:
            self._stream = _unpacked(self.path, self._stack.enter_context(_opened(self.path)))
            self._look_at_head()
        except _FAILURES as error:
            self.failure = self._told(error)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[bytes | TraceProblem]:
        """All lines of a file that nobody has opened."""
        with self:
            yield from (self.failure,) if self.failure else self.lines()

    def lines(self) -> Iterator[bytes | TraceProblem]:
        """All lines, each with its newline."""
        try:
            yield from self._lines()
        except _FAILURES as error:
            yield self._told(error)

    def chunks(self) -> Iterator[bytes | TraceProblem]:
        """All bytes, some at a time, for a format that is one document."""
        try:
            yield from self._about_bom()
            while chunk := self._stream.read1(_BUFFER):
                yield chunk
        except _FAILURES as error:
            yield self._told(error)

    def _look_at_head(self) -> None:
        self.head = self._stream.peek(_BUFFER)
        if self.head.startswith(_UTF16_BOMS) or b"\0" in self.head[:4]:
            say = "is not UTF-8: it looks like UTF-16 or binary; to convert it: iconv -f UTF-16 -t UTF-8"
            self.failure = self._file_problem("invalid-utf8", say)
        elif self.head.startswith(_UTF8_BOM):
            self._starts_with_bom = True
            self._stream.read(len(_UTF8_BOM))
            self.head = self.head[len(_UTF8_BOM) :]

    def _about_bom(self) -> Iterator[TraceProblem]:
        if self._starts_with_bom:
            say = "starts with a byte order mark, which is skipped; save the file as UTF-8 without BOM"
            yield problem("bom", self.name, 1, None, say)

    def _lines(self) -> Iterator[bytes | TraceProblem]:
        yield from self._about_bom()
        readline, most = self._stream.readline, self.max_line_bytes + 1
        while line := readline(most):
            self.line_number += 1
            if line[-1] == _NEWLINE:
                yield line
            else:
                yield from self._line_without_end(line)

    def _line_without_end(self, line: bytes) -> Iterator[bytes | TraceProblem]:
        is_blank = not line.strip(_BLANKS)
        if len(line) <= self.max_line_bytes:
            yield line
        else:
            while line and line[-1] != _NEWLINE:
                line = self._stream.readline(_BUFFER)
            say = f"has more than {self.max_line_bytes:,} bytes, the most that a line may have; it is skipped"
            yield problem("line-too-long", self.name, self.line_number, None, say)
        if not is_blank and line[-1:] != b"\n":
            say = "the last line does not end with a newline; the file may have been cut off"
            yield problem("no-final-newline", self.name, self.line_number, None, say)

    def _told(self, error: Exception) -> TraceProblem:
        if isinstance(error, _BrokenStreamError):
            say = f"the packed data ends early or is damaged here ({error}); make or download the file again"
            return problem("truncated-file", self.name, self.line_number + 1, None, say)
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return self._file_problem("missing-file", "no such file; check the path")
        if isinstance(error, IsADirectoryError):
            return self._file_problem("is-a-directory", "is a directory; name the trace files in it")
        say = getattr(error, "strerror", None) or str(error)
        return self._file_problem("unreadable-file", f"cannot be read: {say}")

    def _file_problem(self, code: str, say: str) -> TraceProblem:
        return problem(code, self.name, None, None, say)


def _opened(path: str) -> AbstractContextManager[IO[bytes]]:
    if path == "-":
        if sys.stdin is None:
            raise OSError("standard input is closed")
        return nullcontext(sys.stdin.buffer)
    if Path(path).is_dir():
        raise IsADirectoryError
    return Path(path).open("rb", buffering=_BUFFER)


def _unpacked(path: str, packed: IO[bytes]) -> io.BufferedReader[Any]:
    stream: io.BufferedReader[Any] = (
        packed if isinstance(packed, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", packed))
    )
    head = stream.peek(4)
    if path.endswith(".gz") or head.startswith(_GZIP_MAGIC):
        unpacker = _Unpacker(stream, partial(zlib.decompressobj, wbits=31), zlib.error, _GZIP_BITE)
    elif path.endswith(".zst") or head.startswith(_ZSTD_MAGIC):
        try:
            import zstandard
        except ImportError:
            raise ImportError("zstd needs one more package: pip install 'tracesim[zst]'") from None
        new_decoder = zstandard.ZstdDecompressor().decompressobj
        unpacker = _Unpacker(stream, new_decoder, zstandard.ZstdError, _ZSTD_BITE)
    else:
        return stream
    return io.BufferedReader(unpacker, _BUFFER)


class _Unpacker(io.RawIOBase):
    """One or more packed members as one stream; zeros after a member are padding, as gzip has it.

    The libraries' own streams are not used: they give no sign of a zstd file that ends early.
    """

    def __init__(
        self, packed: IO[bytes], new_decoder: Callable[[], Any], failure: type[Exception], bite: int
    ) -> None:
        self._packed, self._new_decoder, self._failure, self._bite = packed, new_decoder, failure, bite
        self._decoder: Any = None
        self._rest = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            if not self._rest and not self._fill():
                return 0
            self._ready = memoryview(self._decode())
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def _fill(self) -> bool:
        self._rest = self._packed.read(self._bite)
        if not self._rest and self._decoder:
            raise _BrokenStreamError("it has no end")
        return bool(self._rest)

    def _decode(self) -> bytes:
        if not self._decoder:
            self._rest = self._rest.lstrip(b"\0")
            self._decoder = self._new_decoder() if self._rest else None
        if not self._decoder:
            return b""
        try:
            text: bytes = self._decoder.decompress(self._rest)
        except self._failure as error:
            raise _BrokenStreamError(str(error)) from None
        self._rest = b""
        if self._decoder.eof:
            self._rest, self._decoder = self._decoder.unused_data, None
        return text
