"""One colour for each request, the same wherever the request is shown."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from zlib import crc32

PALETTE: Final = (
    "color(33)",
    "color(166)",
    "color(28)",
    "color(135)",
    "color(30)",
    "color(169)",
    "color(100)",
)
"""Colours of the 256-colour terminal that can be read on a dark background and on a light one."""


@lru_cache(maxsize=4096)
def request_style(request_id: str) -> str:
    """Return the style of a request: chosen by the number at the end of its id, or else by a hash of the id.

    So neighbours such as r1 and r2 differ, and nobody has to know which other requests there are.
    """
    number = re.search(r"[0-9]{1,18}\Z", request_id)
    index = int(number[0]) if number else crc32(request_id.encode("utf-8", "surrogatepass"))
    return PALETTE[index % len(PALETTE)]
