"""Text cut to the width of a terminal, and counts in words."""

from __future__ import annotations

from functools import lru_cache

from rich.cells import cell_len, set_cell_size

from tracesim_cli.terminal.safe_text import visible

_MAX_LENGTH = 400
"""Characters of an id or text that are shown; Rich remembers the width of texts of up to 512."""


def clip(text: str, width: int) -> str:
    """Return `text`, cut with an ellipsis if it is wider than `width` cells."""
    if cell_len(text) <= width:
        return text
    if width < 1:
        return ""
    head = set_cell_size(text, width - 1)
    return (head if text.startswith(head) else head[:-1]) + "…"  # half of a wide character is a space


@lru_cache(maxsize=4096)
def quoted(text: str) -> str:
    """Return `text` in visible escapes and double quotes; a very long one is cut, with its end quote."""
    escaped = visible(text[:_MAX_LENGTH]).replace('"', '\\"')
    if len(text) <= _MAX_LENGTH and len(escaped) <= _MAX_LENGTH:
        return f'"{escaped}"'
    return f'"{escaped[:_MAX_LENGTH]}…'


@lru_cache(maxsize=4096)
def label(request_id: str) -> str:
    """Return an id in visible escapes, and in quotes if it could be read as several words or as a count."""
    escaped = visible(request_id[:_MAX_LENGTH])
    if not escaped or '"' in escaped or escaped[0] == "+" or any(map(str.isspace, escaped)):
        return quoted(request_id)
    if len(request_id) <= _MAX_LENGTH and len(escaped) <= _MAX_LENGTH:
        return escaped
    return f"{escaped[:_MAX_LENGTH]}…"


def counted(number: int, noun: str) -> str:
    """`1 record`, `2,000 records`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def format_duration(seconds: float) -> str:
    """Return a duration with three significant digits in s, ms or us: `1.20s`, `23.4ms`, `450us`."""
    if not seconds:
        return "0s"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        rounded = f"{seconds / size:.2e}"
        exponent = int(rounded.partition("e")[2])
        if exponent >= 0:
            return f"{float(rounded) if exponent < 3 else seconds / size:,.{max(0, 2 - exponent)}f}{unit}"
    return f"{seconds / 1e-6:.2g}us"


def format_rate(number: float) -> str:
    """Return a number with three significant digits and k, M or G: `9.50`, `94.2k`, `1.03M`."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0)):
        if number >= 0.9995 * size:
            value = float(f"{number / size:.3g}")
            return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}{unit}"
    return f"{number:.2f}"
