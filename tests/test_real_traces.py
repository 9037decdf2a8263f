"""Recorded traffic, where the folder that TRACESIM_TRACES names has it."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import pytest

from factories import an_engine
from tracesim import TraceRecord, read_trace
from tracesim.report import report_requests

FOLDER = Path(os.environ.get("TRACESIM_TRACES", "nowhere")) / "text"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="TRACESIM_TRACES names no folder with text/")


@pytest.mark.parametrize("trace", sorted(FOLDER.glob("*.jsonl*")), ids=lambda path: path.name)
def test_recorded_traces_are_valid(trace: Path) -> None:
    items = list(read_trace([trace]))

    assert [item for item in items if not isinstance(item, TraceRecord) and item.severity == "error"] == []
    assert any(isinstance(item, TraceRecord) for item in items)


def test_what_was_recorded_comes_out_again() -> None:
    items = read_trace([FOLDER / "arena_hard.jsonl.gz"])
    records = list(islice((item for item in items if isinstance(item, TraceRecord)), 300))
    engine = an_engine(records, tokenizer="embedded", engine="vllm-v1", num_gpu_blocks=4_000)
    engine.run()

    assert [(request.id, request.finish_reason, request.text) for request in report_requests(engine)] == [
        (record.id, "stop", record.response) for record in records
    ]
