"""Reports of small runs, to be compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from factories import a_record, an_engine
from tracesim import TraceRecord, measure_run
from tracesim.analysis.report import RunReport, report_requests, report_to_json, summarize
from tracesim.analysis.saved_report import SavedReport, checked_report
from tracesim.timing.clock import parse_clock


def report_of(records: Iterable[TraceRecord], clock: str = "constant:20ms", **settings: Any) -> SavedReport:
    """Return the report of a run of `vllm-v1`; its name is that of its settings."""
    engine = an_engine(records, clock=parse_clock(clock), engine="vllm-v1", **settings)
    engine.run()
    config = {"engine": "vllm-v1", **settings}
    report = RunReport(config, summarize(engine), report_requests(engine), measure_run(engine))
    return checked_report(f"{settings}.json", orjson.loads(report_to_json(report)))


def a_report(
    records: int = 3, clock: str = "constant:20ms", prompt: str = "Hi", **settings: Any
) -> SavedReport:
    """Return the report of a run over requests r0, r1, ... that arrive together and emit 6 tokens each."""
    return report_of([a_record(f"r{number}", prompt=prompt) for number in range(records)], clock, **settings)
