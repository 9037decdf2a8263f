"""Text cut to the width of a terminal, and counts in words."""

from __future__ import annotations

from functools import lru_cache

from rich.cells import cell_len, set_cell_size

from tracesim_cli.terminal.safe_text import visible

_LONGEST = 512  # characters of one id or text that are looked at; no cell is as wide


def clip(text: str, room: int) -> str:
    """Return `text`, cut with an ellipsis where it takes more than `room` cells."""
    if cell_len(text) <= room:
        return text
    if room < 1:
        return ""
    head = set_cell_size(text, room - 1)
    return (head if text.startswith(head) else head[:-1]) + "…"  # half of a wide character is a space


@lru_cache(maxsize=4096)
def quoted(text: str) -> str:
    """Return `text` in visible escapes and double quotes; one of great length is cut, end quote and all."""
    escaped = visible(text[:_LONGEST]).replace('"', '\\"')
    return f'"{escaped}"' if len(text) <= _LONGEST else f'"{escaped}…'


@lru_cache(maxsize=4096)
def label(request_id: str) -> str:
    """Return an id in visible escapes; in quotes where it could be taken for several words or a count."""
    escaped = visible(request_id[:_LONGEST])
    if not escaped or '"' in escaped or escaped[0] == "+" or any(map(str.isspace, escaped)):
        return quoted(request_id)
    return escaped if len(request_id) <= _LONGEST else f"{escaped}…"


def counted(number: int, noun: str) -> str:
    """`1 record`, `2,000 records`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
