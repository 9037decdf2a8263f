"""Draw docs/replay.svg, the picture in the README, from a real run of a sample trace.

python tools/make_screenshot.py
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tracesim.analysis.report import RequestReport, Summary, report_requests, summarize
from tracesim.config import EngineArgs
from tracesim.engine.llm_engine import LLMEngine
from tracesim.engine.step_records import StepRecord
from tracesim.responses.simulator import TraceSimulator
from tracesim.tokenizers.loading import load_tokenizer
from tracesim.trace.reader import read_trace
from tracesim.trace.record import TraceRecord
from tracesim_cli.terminal.lines import rich_text
from tracesim_cli.views.step_table import StepTable
from tracesim_cli.views.summary_view import format_summary

ROOT = Path(__file__).resolve().parent.parent
TRACE = "sample_traces/milestone.jsonl"
TOKENIZER = "char"
WIDTH = 88


def render_svg(
    records: Sequence[StepRecord], summary: Summary, requests: Sequence[RequestReport], command: str
) -> str:
    """Return the table and the summary of a run as an SVG of a terminal with `command` as its title."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    table = StepTable(WIDTH)
    console.print(table.header())
    for record in records:
        console.print(table.row(record))
    console.print()
    for line in format_summary(summary, requests=requests, width=WIDTH):
        console.print(rich_text(line))
    svg = console.export_svg(title=command, unique_id="replay")
    # Rich names a web font; the picture is to need nothing from outside, so the reader's own font serves.
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def load_trace() -> LLMEngine:
    """Return an engine with every request of the sample trace in it."""
    config = EngineArgs(tokenizer=TOKENIZER).create_engine_config()
    engine = LLMEngine(config, TraceSimulator([], load_tokenizer(TOKENIZER)))
    for record in read_trace([ROOT / TRACE]):
        if not isinstance(record, TraceRecord):
            raise SystemExit(f"{TRACE}: {record}")
        engine.add_record(record)
    return engine


def main() -> None:
    """Replay the trace and write the picture."""
    engine = load_trace()
    records: list[StepRecord] = []
    engine.run(records.append)
    command = f"tracesim replay {TRACE} --tokenizer {TOKENIZER}"
    svg = render_svg(records, summarize(engine), report_requests(engine), command)
    target = ROOT / "docs" / "replay.svg"
    target.parent.mkdir(exist_ok=True)
    target.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
