"""Draw docs/replay.svg, the picture of the front pages, from a real run of a sample trace.

python tools/make_screenshot.py
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tracesim import EngineArgs, LLMEngine, StepRecord, TraceRecord, load_tokenizer, read_trace
from tracesim.analysis.report import report_requests, summarize
from tracesim.responses.simulator import TraceSimulator
from tracesim_cli.terminal.lines import rich_text
from tracesim_cli.views.step_table import StepTable
from tracesim_cli.views.summary_view import format_summary

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "replay.svg"
TRACE = "sample_traces/tour.jsonl"
SETTINGS = EngineArgs(
    engine="vllm-v1",
    block_size=4,
    num_gpu_blocks=11,
    max_num_batched_tokens=16,
    enable_prefix_caching=True,
)
COMMAND = (
    f"tracesim replay {TRACE} --engine vllm-v1 --enable-prefix-caching \\\n"
    "    --block-size 4 --num-gpu-blocks 11 --max-num-batched-tokens 16"
)
WIDTH = 116
THEME = TerminalTheme(
    (22, 25, 37),
    (216, 222, 245),
    [
        (60, 66, 92),
        (255, 117, 127),
        (158, 206, 106),
        (255, 199, 119),
        (122, 162, 247),
        (192, 153, 255),
        (115, 218, 236),
        (216, 222, 245),
    ],
)


def load_trace() -> LLMEngine:
    """Return an engine with every request of the sample trace in it."""
    engine = LLMEngine(SETTINGS.create_engine_config(), TraceSimulator([], load_tokenizer("embedded")))
    for record in read_trace([ROOT / TRACE]):
        if not isinstance(record, TraceRecord):
            raise SystemExit(f"{TRACE}: {record}")
        engine.add_record(record)
    return engine


def render_svg(engine: LLMEngine, records: Sequence[StepRecord]) -> str:
    """Return a terminal with the command, the table and the summary of a run as an SVG."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(Text.assemble(("$ ", "bold green"), (COMMAND, "bold"), "\n"))
    table = StepTable(WIDTH, finite_blocks=True)
    console.print(table.header())
    for record in records:
        console.print(table.row(record))
    console.print()
    for line in format_summary(summarize(engine), requests=report_requests(engine), width=WIDTH):
        console.print(rich_text(line))
    console.print()
    svg = console.export_svg(title="tracesim", theme=THEME, unique_id="replay")
    # Rich names a web font. Without it the picture needs nothing from outside: the reader's own font is used.
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def main() -> None:
    """Replay the trace and write the picture."""
    engine = load_trace()
    records: list[StepRecord] = []
    engine.run(records.append)
    TARGET.write_text(render_svg(engine, records), encoding="utf-8")


if __name__ == "__main__":
    main()
