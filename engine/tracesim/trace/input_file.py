"""One input file: opened, decompressed, and split into lines or chunks, in bounded memory."""

from __future__ import annotations

import io
import lzma
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from tracesim.errors import TraceProblem, needs_package
from tracesim.limits import EXPANDED_BYTES, MAX_EXPANSION, MAX_LINE_BYTES, MAX_PIPED_TABLE
from tracesim.trace.problems import problem

_BUFFER_BYTES = 256 * 1024
_URL = re.compile("[a-z][a-z0-9+.-]+://")
_NEWLINE = ord("\n")
_BLANKS = b" \t\r\n"
_SPACE = ord(" ")  # no blank line begins with a greater byte
_BLANK_LINES = re.compile(rb"[ \t\r\n]*\n")
_UTF8_BOM = b"\xef\xbb\xbf"
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BZIP2_MAGIC = b"BZh"
_LZMA_MAGICS = (b"\xfd7zXZ\0", b"]\0\0")  # of .xz, and of the older .lzma
_ZIP_MAGIC = b"PK\x03\x04"
_ZIP_METADATA = "__MACOSX/"  # what macOS adds to an archive
# Compressed bytes that are expanded at a time: one becomes at most 1,032 bytes (gzip) or 32,768 (zstd).
_GZIP_BITE = 16 * 1024
_ZSTD_BITE = 1024


class _BrokenStreamError(Exception):
    """Compressed data ends early or is damaged."""


class _ExpandsTooMuchError(Exception):
    """Compressed data is larger than the limit of what it may expand to."""


_FAILURES = (
    _BrokenStreamError,
    _ExpandsTooMuchError,
    EOFError,
    OSError,
    ValueError,
    ImportError,
    lzma.LZMAError,
    zlib.error,
)


class InputFile:
    r"""One file, decompressed, to be read once: by `lines` or in `chunks`. Only b"\n" ends a line.

    gzip, zstd, bzip2, xz, and zip archives of one file are decompressed. Nothing is raised for what the file
    is or contains: a `TraceProblem` stands in place of what is wrong, and `failure` is the one because of
    which nothing can be read. `head` is the beginning of the content, as far as one look shows. A line over
    `max_line_bytes` is replaced by its problem and never loaded whole. `line_number` counts the lines read.
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

    def __enter__(self) -> InputFile:
        try:
            self._stream = _decompressed(self.path, self._stack.enter_context(_opened(self.path)))
            self.head = self._stream.peek(_BUFFER_BYTES)
        except _FAILURES as error:
            self.failure = self._problem_of(error)
            return self
        if encoding := _wide_encoding(self.head):
            message = f"is not UTF-8: it looks like {encoding}; to convert it: iconv -f {encoding} -t UTF-8"
            self.failure = problem("invalid-utf8", self.name, None, None, message)
        elif b"\0" in self.head[:4] or self.head.startswith(_GZIP_MAGIC):
            message = "is binary: after decompression, if any, a trace is text in UTF-8"
            self.failure = problem("invalid-utf8", self.name, None, None, message)
        elif self.head.startswith(_UTF8_BOM):
            self._starts_with_bom = True
            self._stream.read(len(_UTF8_BOM))
            self.head = self.head[len(_UTF8_BOM) :]
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[bytes | TraceProblem]:
        """Open the file and yield all its lines."""
        with self:
            yield from (self.failure,) if self.failure else self.lines()

    def lines(self) -> Iterator[bytes | TraceProblem]:
        """Yield all lines, each with its newline; of blank lines in a row perhaps only the first."""
        try:
            yield from self._bom_warning()
            readline, limit = self._stream.readline, self.max_line_bytes + 1
            while line := readline(limit):
                self.line_number += 1
                if line[-1] == _NEWLINE:
                    yield line
                    if line[0] <= _SPACE and line.isspace():
                        self._skip_blank_lines()
                else:
                    yield from self._line_without_newline(line)
        except _FAILURES as error:
            yield self._problem_of(error)

    def chunks(self) -> Iterator[bytes | TraceProblem]:
        """Yield all bytes, some at a time, for a format that is one document."""
        try:
            yield from self._bom_warning()
            while chunk := self._stream.read1(_BUFFER_BYTES):
                yield chunk
        except _FAILURES as error:
            yield self._problem_of(error)

    def random_access(self) -> IO[bytes]:
        """Return the content as a file with random access, in memory if it cannot be had otherwise.

        Raises ValueError if it is too large to be in memory.
        """
        if not self._stream.seekable():
            content = self._stream.read(MAX_PIPED_TABLE + 1)
            if len(content) > MAX_PIPED_TABLE:
                limit = f"{MAX_PIPED_TABLE:,} bytes, the limit of one that is compressed or piped"
                raise ValueError(f"it has more than {limit}; write it to a file as it is")
            self._stream = io.BufferedReader(cast("io.RawIOBase", io.BytesIO(content)))
        self._stream.seek(0)
        return self._stream

    def _skip_blank_lines(self) -> None:
        """Skip the blank lines that follow, as far as they are in the buffer."""
        while blank := _BLANK_LINES.match(self._stream.peek()):
            self._stream.read(blank.end())
            self.line_number += blank[0].count(b"\n")

    def _bom_warning(self) -> Iterator[TraceProblem]:
        if self._starts_with_bom:
            message = "starts with a byte order mark, which is skipped; save the file as UTF-8 without BOM"
            yield problem("bom", self.name, 1, None, message)

    def _line_without_newline(self, line: bytes) -> Iterator[bytes | TraceProblem]:
        """Yield the last line of a file, or the problem of a line that is too long."""
        is_blank = not line.strip(_BLANKS)
        if len(line) <= self.max_line_bytes:
            yield line
        else:
            while line and line[-1] != _NEWLINE:
                line = self._stream.readline(_BUFFER_BYTES)
            message = f"has more than {self.max_line_bytes:,} bytes, the limit of a line; it is skipped"
            yield problem("line-too-long", self.name, self.line_number, None, message)
        if not is_blank and line[-1:] != b"\n":
            message = "the last line does not end with a newline; the file may have been cut off"
            yield problem("no-final-newline", self.name, self.line_number, None, message)

    def _problem_of(self, error: Exception) -> TraceProblem:
        """Return the problem that an exception means."""
        if isinstance(error, _ExpandsTooMuchError):
            return expands_too_much(self.name, self.line_number + 1)
        # bz2 reports damaged data as an OSError that has no number.
        is_unnumbered = type(error) is OSError and error.errno is None and "standard input" not in str(error)
        if is_unnumbered or isinstance(error, _BrokenStreamError | EOFError | lzma.LZMAError | zlib.error):
            reason = str(error).rstrip(".")
            message = (
                f"the compressed data ends early or is damaged here ({reason}); make or download it again"
            )
            return problem("truncated-file", self.name, self.line_number + 1, None, message)
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return problem("missing-file", self.name, None, None, "no such file; check the path")
        if isinstance(error, IsADirectoryError):
            return problem("is-a-directory", self.name, None, None, "is a directory; name the files in it")
        message = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        return problem("unreadable-file", self.name, None, None, message)


def expands_too_much(file: str, line: int | None) -> TraceProblem:
    """Return the problem of compressed data that is far larger than it should be."""
    message = (
        f"expands to over {EXPANDED_BYTES:,} bytes and {MAX_EXPANSION} times its size, the limit of "
        "compressed data; the rest is not read. If it is a trace, decompress it first"
    )
    return problem("expands-too-much", file, line, None, message)


def _wide_encoding(head: bytes) -> str | None:
    """Return UTF-16 or UTF-32 if a file begins like that: with its mark, or with zeros at its places."""
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "UTF-32"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    zeros = [byte == 0 for byte in head[:4]]
    if zeros in ([False, True, True, True], [True, True, True, False]):
        return "UTF-32"
    return "UTF-16" if zeros in ([False, True, False, True], [True, False, True, False]) else None


def _opened(path: str) -> AbstractContextManager[IO[bytes]]:
    """Return the file, which may be at a URL, or standard input for `-`. Raises OSError or ImportError."""
    if path == "-":
        if sys.stdin is None:
            raise OSError("standard input is closed")
        return nullcontext(sys.stdin.buffer)
    if _URL.match(path):
        try:
            import fsspec
        except ImportError:
            raise ImportError(needs_package("a trace at a URL", "fsspec")) from None
        opened: AbstractContextManager[IO[bytes]] = fsspec.open(path, "rb")
        return opened
    if Path(path).is_dir():
        raise IsADirectoryError
    return Path(path).open("rb", buffering=_BUFFER_BYTES)


def _decompressed(path: str, file: IO[bytes]) -> io.BufferedReader[Any]:
    """Return a stream of the content, whose compression is detected from its first bytes or the file's name.

    Raises ImportError where a package is missing, ValueError for an archive of several files.
    """
    stream: io.BufferedReader[Any] = (
        file if isinstance(file, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", file))
    )
    head = stream.peek(6)
    compressed: Any = _Counting(stream)  # as a binary file, of which it has what is used
    if path.endswith(".gz") or head.startswith(_GZIP_MAGIC):
        new_decoder = partial(zlib.decompressobj, wbits=31)
        expanded: Any = _Decompressor(compressed, new_decoder, zlib.error, _GZIP_BITE)
    elif path.endswith(".zst") or head.startswith(_ZSTD_MAGIC):
        try:
            import zstandard
        except ImportError:
            raise ImportError(needs_package("zstd", "zstandard")) from None
        new_zstd = zstandard.ZstdDecompressor().decompressobj
        expanded = _Decompressor(compressed, new_zstd, zstandard.ZstdError, _ZSTD_BITE)
    elif head.startswith(_BZIP2_MAGIC):
        import bz2

        expanded = bz2.BZ2File(compressed)
    elif head.startswith(_LZMA_MAGICS):
        expanded = lzma.LZMAFile(compressed)  # noqa: SIM115 - it ends with the file
    elif head.startswith(_ZIP_MAGIC):
        expanded = _only_member(compressed)
    else:
        return stream
    return io.BufferedReader(_LimitedExpansion(expanded, compressed), _BUFFER_BYTES)


class _Counting(io.RawIOBase):
    """A binary file that counts the bytes that are read from it: `num_read`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.num_read = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        size: int = self._file.readinto(buffer)  # type: ignore[attr-defined]  # it is a BufferedReader
        self.num_read += size
        return size


class _LimitedExpansion(io.RawIOBase):
    """Decompressed data that raises _ExpandsTooMuchError where there is far more of it than compressed."""

    def __init__(self, expanded: Any, compressed: _Counting) -> None:
        self._expanded, self._compressed = expanded, compressed
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            size: int = self._expanded.readinto(buffer)
        except _FAILURES:
            raise
        except Exception as error:  # damaged data makes the libraries raise anything
            raise _BrokenStreamError(f"{type(error).__name__}: {error}") from None
        self._size += size
        if self._size > EXPANDED_BYTES and self._size > MAX_EXPANSION * self._compressed.num_read:
            raise _ExpandsTooMuchError
        return size


def _only_member(stream: IO[bytes]) -> IO[bytes]:
    """Return the one file in a zip archive. Raises ValueError where there is another number of them."""
    import zipfile

    if not stream.seekable():
        raise ValueError(
            "a zip archive cannot be read from a pipe; name the file, or pipe what unzip -p prints"
        )
    try:
        archive = zipfile.ZipFile(stream)
        members = [
            member
            for member in archive.infolist()
            if not member.is_dir() and not member.filename.startswith(_ZIP_METADATA)
        ]
        if len(members) != 1:
            raise ValueError(
                f"this zip archive has {len(members)} files; unpack it and name the traces in it"
            )
        return archive.open(members[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise _BrokenStreamError(str(error)) from None


class _Decompressor(io.RawIOBase):
    """One or more compressed members as one stream; zeros after a member are padding, as in gzip.

    The libraries' own streams are not used: they do not report a zstd file that ends early.
    """

    def __init__(
        self, compressed: IO[bytes], new_decoder: Callable[[], Any], failure: type[Exception], bite: int
    ) -> None:
        self._compressed, self._new_decoder, self._failure, self._bite = (
            compressed,
            new_decoder,
            failure,
            bite,
        )
        self._decoder: Any = None
        self._rest = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            if not self._rest:
                self._rest = self._compressed.read(self._bite)
                if not self._rest:
                    if self._decoder:
                        raise _BrokenStreamError("its end is missing")
                    return 0
            self._ready = memoryview(self._decode())
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def _decode(self) -> bytes:
        """Decompress what is at hand; after the end of a member the rest stays for the next one."""
        if not self._decoder:
            self._rest = self._rest.lstrip(b"\0")
            if not self._rest:
                return b""
            self._decoder = self._new_decoder()
        try:
            text: bytes = self._decoder.decompress(self._rest)
        except self._failure as error:
            raise _BrokenStreamError(str(error)) from None
        self._rest = b""
        if self._decoder.eof:
            self._rest, self._decoder = self._decoder.unused_data, None
        return text
