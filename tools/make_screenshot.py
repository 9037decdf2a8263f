"""Draw docs/replay.svg, the picture of the front pages, from a real run of a sample trace.

python tools/make_screenshot.py
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tracesim import EngineArgs, LLMEngine, StepRecord, TraceRecord, load_tokenizer, read_trace
from tracesim.engine.stride_records import StrideRecord
from tracesim.responses.simulator import TraceSimulator
from tracesim_cli.terminal.lines import rich_text
from tracesim_cli.views.panel import lanes_that_fit, panel_lines
from tracesim_cli.views.snapshot import RunMonitor
from tracesim_cli.views.step_table import StepTable

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
WIDTH = 104
HEIGHT = 24
SECONDS_PER_STEP = 0.25
STEPS_AFTER_PREEMPTION = 1
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


class Picture:
    """The live view at one moment of a run: the step after the first preemption."""

    def __init__(self, engine: LLMEngine) -> None:
        self.seconds = 0.0
        self.monitor = RunMonitor(engine, lambda: self.seconds)
        self.lanes = lanes_that_fit(WIDTH, HEIGHT, len(engine.requests))
        self.records: list[StepRecord] = []
        self.snapshot = self.monitor.snapshot(self.lanes[0] * self.lanes[1])

    def take(self, record: StrideRecord) -> None:
        """Take the next step, and stop the run where the picture is complete."""
        self.monitor.count(record)
        self.seconds += SECONDS_PER_STEP
        self.snapshot = self.monitor.snapshot(self.lanes[0] * self.lanes[1])
        preempted = [each.step for each in self.records if each.preempted]
        if preempted and record.step >= preempted[0] + STEPS_AFTER_PREEMPTION:
            raise StopIteration


def render_svg(picture: Picture) -> str:
    """Return a terminal with the command, the rows and the panel as an SVG."""
    console = Console(
        record=True,
        width=WIDTH,
        file=io.StringIO(),
        force_terminal=True,
        color_system="256",
        highlight=False,
    )
    console.print(Text.assemble(("$ ", "bold green"), (COMMAND, "bold"), "\n"))
    table = StepTable(WIDTH, finite_blocks=True)
    lines = [table.header_fragments(), *map(table.row_fragments, picture.records), []]
    lines += panel_lines(picture.snapshot, WIDTH, picture.lanes, has_keys=True)
    for line in lines:
        console.print(rich_text(line))
    svg = console.export_svg(title="tracesim", theme=THEME, unique_id="replay")
    # Rich names a web font. Without it the picture needs nothing from outside: the reader's own font is used.
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def main() -> None:
    """Replay the trace and write the picture."""
    picture = Picture(engine := load_trace())
    with contextlib.suppress(StopIteration):
        engine.run(picture.records.append, on_stride=picture.take)
    TARGET.write_text(render_svg(picture), encoding="utf-8")


if __name__ == "__main__":
    main()
