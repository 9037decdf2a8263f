"""The bounds of what is accepted: what no run can mean is refused where it enters, with its place.

Within them every figure fits in 64 bits, and memory grows with what is replayed, not with a number, a setting
or a compressed size.
"""

from __future__ import annotations

from typing import Final

MAX_TOKENS: Final = 10**9
"""A length in tokens, a limit of one, and every other setting that counts tokens, blocks or requests."""

MAX_HASHED_TOKENS: Final = 2**24
"""A prompt for which a format makes `hash_ids` of its length."""

MAX_TOKEN_ID: Final = 2**32 - 1
"""Token ids are kept in four bytes each."""

MAX_HASH_ID: Final = 2**64 - 1

MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**63 - 1
"""Priorities and seeds are signed integers of 64 bits."""

MAX_STEP: Final = 10**12
"""An `arrival_step`; and what an option counts: steps, records, problems."""

MAX_SECONDS: Final = 10**10
"""An `arrival_time` and a `delay`: 317 years. Times since 1970 fit in seconds, and not in milliseconds."""

MAX_DURATION: Final = 10**6
"""A duration that is given as a setting, in seconds: a cost of the clock, a latency limit."""

MAX_FACTOR: Final = 10**9
"""A rate of arrivals, in requests per second or step, and a factor of speed."""

MAX_REPLICAS: Final = 10_000
"""Engines of a cluster."""

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
"""A line of a trace. A prompt of two million tokens fits."""

MAX_ITEM_BYTES: Final = 32 * 1024 * 1024
"""An item of a JSON document, in UTF-8."""

MAX_VALUE_MEMORY: Final = 128 * 1024 * 1024
"""The bytes of memory that the values of a line or an item may take, by an estimate."""

MAX_COLUMNS: Final = 10_000
"""The columns of a CSV file."""

MAX_PIPED_TABLE: Final = 128 * 1024 * 1024
"""The bytes of a Parquet file that comes compressed or through a pipe, and is kept in memory."""

MAX_EXPANSION: Final = 200
EXPANDED_BYTES: Final = 256 * 1024 * 1024
"""Compressed data may expand to so many bytes, and beyond that at most so many times."""

MAX_ERRORS_IN_A_ROW: Final = 100_000
"""Errors of a file without a valid record between them, after which no more of it is read."""


def written(number: float) -> str:
    """Return a bound as a message has it: `1,000,000,000`, `2^64 - 1`, `1e-09`."""
    if number in (MIN_INTEGER, MAX_INTEGER, MAX_HASH_ID, MAX_TOKEN_ID):
        return f"-2^{int(-number).bit_length() - 1}" if number < 0 else f"2^{int(number).bit_length()} - 1"
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"
