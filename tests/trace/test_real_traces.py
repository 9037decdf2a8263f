"""Recorded traffic, where the folder that TRACESIM_TRACES names has it."""

from __future__ import annotations

import gzip
import json
import os
from itertools import islice
from pathlib import Path

import pytest

from factories import an_engine
from tracesim import TraceRecord, read_records, read_trace
from tracesim.analysis.report import report_requests

FOLDER = Path(os.environ.get("TRACESIM_TRACES", "nowhere")) / "text"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="TRACESIM_TRACES names no folder with text/")


def test_recorded_traces_are_valid() -> None:
    traces = sorted(FOLDER.glob("*.jsonl*"))
    assert traces != []
    for trace in traces:
        items = list(read_trace([trace]))

        assert [
            each for each in items if not isinstance(each, TraceRecord) and each.severity == "error"
        ] == []
        assert any(isinstance(each, TraceRecord) for each in items)


@pytest.mark.parametrize(
    ("name", "count", "seconds"),
    [
        ("azure_2023_code.csv.gz", 8_819, 3_435.95),
        ("azure_2023_conv.csv.gz", 19_366, 3_501.72),
        ("mooncake_conversation.jsonl.gz", 12_031, 3_537.0),
    ],
)
def test_published_traces_are_read_to_their_end(name: str, count: int, seconds: float) -> None:
    records = read_records([FOLDER.parent / name])

    assert len(records) == count
    assert records[0].arrival_time == 0.0
    assert records[-1].arrival_time == pytest.approx(seconds, abs=0.01)


@pytest.mark.parametrize(
    "name", sorted(path.name for path in (FOLDER.parent / "weka").glob("*.json.gz")) or ["absent"]
)
def test_sessions_have_the_totals_of_their_files(name: str) -> None:
    path = FOLDER.parent / "weka" / name
    session = json.loads(gzip.decompress(path.read_bytes()))
    totals = session["totals"]
    requests = [each for each in session["requests"] if each["type"] != "subagent"]
    nested = [each for agent in session["requests"] for each in agent.get("requests", [])]

    records = read_records([path])

    of_agents = [each for each in records if each.session_id != session["id"]]
    of_parent = [each for each in records if each.session_id == session["id"]]
    assert (len(of_parent), len(of_agents)) == (len(requests), len(nested))
    for part, expected in ((of_parent, "parent"), (of_agents, "subagent"), (records, "combined")):
        tokens = totals[f"{expected}_tokens"]
        assert sum(each.input_length or 0 for each in part) == tokens["input"]
        assert sum(each.output_length or 0 for each in part) == tokens["output"]
    assert len({each.session_id for each in of_agents}) == totals["subagent_count"]
    assert {each.hash_block_size for each in records} == {session["block_size"]}


def test_rounds_of_tracelab_are_read() -> None:
    records = read_records([FOLDER.parent / "tracelab" / "round_trace.jsonl.gz"])

    assert len(records) == 19
    assert len({each.session_id for each in records}) == 2
    assert [each.id for each in records if each.delay is None] == [
        each.id for each in records if each.id.endswith("/0")
    ]


def test_what_was_recorded_comes_out_again() -> None:
    items = read_trace([FOLDER / "arena_hard.jsonl.gz"])
    records = list(islice((item for item in items if isinstance(item, TraceRecord)), 300))
    engine = an_engine(records, tokenizer="embedded", engine="vllm-v1", num_gpu_blocks=4_000)
    engine.run()

    assert [(request.id, request.finish_reason, request.text) for request in report_requests(engine)] == [
        (record.id, "stop", record.response) for record in records
    ]
