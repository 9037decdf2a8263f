"""Records in batches, which are tokenized together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tracesim.trace.record import TraceRecord

_MAX_RECORDS: Final = 1024
_MAX_SIZE: Final = 4_000_000


def next_batch(records: Iterator[TraceRecord]) -> list[TraceRecord]:
    """Return the next 1,024 records, or fewer with four million characters and token ids."""
    batch: list[TraceRecord] = []
    size = 0
    for record in records:
        batch.append(record)
        prompt, response = record.prompt or (), record.response or ()
        size += len(prompt) + len(response)
        size += len(record.prompt_token_ids or ()) + len(record.response_token_ids or ())
        if size >= _MAX_SIZE or len(batch) == _MAX_RECORDS:
            break
    return batch
