"""`SharedTrace`: a trace that is read and tokenized once, for many replays, in this and other processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from tracesim.responses.record_tokenizer import RecordTokenizer
from tracesim.tokenizers.interface import DEFAULT
from tracesim.tokenizers.loading import LazyTokenizer
from tracesim.trace.batches import next_batch
from tracesim.trace.record import TraceRecord

_PLACE: Final = ("file", "line")


@dataclass(frozen=True, slots=True)
class SharedTrace:
    """The records of a trace with their token ids, for each tokenizer that a sweep uses.

    `sha256` is that of the records' content: it does not depend on the names, the compression or the format
    of the files. `has_stop_strings` is true if a record has a stop string of its own.
    """

    records: Mapping[str, Sequence[TraceRecord]]
    sha256: str
    has_stop_strings: bool

    @property
    def num_requests(self) -> int:
        """How many records the trace has."""
        return len(next(iter(self.records.values())))


def share_trace(records: Iterable[TraceRecord], tokenizers: Iterable[str] = (DEFAULT,)) -> SharedTrace:
    """Return the records tokenized by each of these tokenizers.

    Raises TokenizerError for a tokenizer that cannot be loaded, if there is text to tokenize.
    """
    records = list(records)
    digest = hashlib.sha256()
    for record in records:
        content = {name: value for name, value in record._asdict().items() if name not in _PLACE}
        digest.update(orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE))
    return SharedTrace(
        {name: _tokenized(records, name) for name in tokenizers},
        digest.hexdigest(),
        any(record.stop for record in records),
    )


def _tokenized(records: Sequence[TraceRecord], name: str) -> list[TraceRecord]:
    """Return records with token ids beside every text."""
    tokenizer = RecordTokenizer(LazyTokenizer(name))
    remaining = iter(records)
    shared: list[TraceRecord] = []
    while batch := next_batch(remaining):
        for tokenized in tokenizer.tokenize(batch):
            record, prompt = tokenized.record, tokenized.prompt_token_ids
            if prompt is not None:
                response = tokenized.recording.token_ids
                record = record._replace(prompt_token_ids=prompt, response_token_ids=response)
            shared.append(record)
    return shared
