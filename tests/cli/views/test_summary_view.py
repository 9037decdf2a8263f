"""The summary: figures and texts, within the width."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tracesim import EngineArgs, engine_args_from_profiles, load_profile
from tracesim.analysis.figure_text import format_milliseconds
from tracesim.analysis.metrics import Latency, Metrics
from tracesim.analysis.report import BatchSizes, RequestReport, Summary
from tracesim_cli.terminal.display import Display
from tracesim_cli.terminal.lines import plain_text
from tracesim_cli.views.run_view import RunSettings
from tracesim_cli.views.summary_view import (
    format_summary,
    format_texts,
    print_summary,
    summary_rows,
)


def summary(**varied: Any) -> Summary:
    """Return the summary of three small requests, except for what is named."""
    usual: dict[str, Any] = {
        "requests": 3,
        "finished": {"stop": 2, "length": 1},
        "unfinished": 0,
        "steps": 1200,
        "prompt_tokens": 15,
        "output_tokens": 17,
        "prefill_steps": 1,
        "decode_steps": 1199,
        "prefill_batch": BatchSizes(3.0, 3),
        "decode_batch": BatchSizes(2.25, 3),
        "preemptions": 0,
    }
    return Summary(**(usual | varied))


def request(**varied: Any) -> RequestReport:
    """Return a finished request, except for what is named."""
    usual: dict[str, Any] = {
        "id": "r1",
        "prompt_tokens": 5,
        "output_tokens": 7,
        "text": " world!",
        "finish_reason": "stop",
        "stop_reason": None,
        "arrival_step": 0,
        "first_token_step": 1,
        "last_token_step": 7,
        "preemptions": 0,
    }
    return RequestReport(**(usual | varied))


def printed(*args: Any, live: bool = False, width: int = 100) -> str:
    """Print a summary and return what was printed."""
    stream = io.StringIO()
    print_summary(stream, Display(live, width, color=live), *args)
    return stream.getvalue()


THREE = [
    request(),
    request(id="r2", text=" th", finish_reason="length"),
    request(id="r3", text=" hello ", stop_reason="STOP"),
]

EXPECTED = """\
requests       3: 2 stop, 1 length
steps          1,200: 1 with prefill, 1,199 with decode
tokens         15 prompt, 17 output
prefill batch  mean 3.0, max 3
decode batch   mean 2.2, max 3
preemptions    0
speed          600 steps/s (2.000 s)

r1  stop         " world!"
r2  length       " th"
r3  stop "STOP"  " hello "
"""


def test_a_plain_summary_is_figures_and_texts() -> None:
    """Plain output has no escape codes, and its columns are aligned."""
    assert printed(summary(), 2.0, THREE) == EXPECTED


def test_a_live_summary_has_colours() -> None:
    """Reasons have their colours, and markup in a text is not interpreted."""
    text = printed(summary(), 2.0, [request(text="[red]x")], live=True)

    assert "\x1b[32m2 stop\x1b[0m" in text
    assert '"[red]x"' in text


def test_unfinished_requests_are_counted() -> None:
    """An interrupted run has some."""
    first = printed(summary(unfinished=1, finished={"stop": 2})).splitlines()[0]

    assert first == "requests       3: 2 stop, 1 unfinished"


def test_there_is_no_speed_without_a_duration() -> None:
    """The other figures are equal on every machine."""
    assert "speed" not in printed(summary())


@pytest.mark.parametrize(("size", "texts"), [(12, 12), (13, 0)])
def test_texts_are_shown_for_small_traces(size: int, texts: int) -> None:
    """With more than 12 requests there are only figures."""
    assert printed(summary(), None, [request()] * size).count("world") == texts


@pytest.mark.parametrize(
    ("varied", "expected"),
    [
        ({"text": 'a\n"\x1b'}, r'r1  stop  "a\n\"\x1b"'),
        ({"text": None}, "r1  stop  7 tokens"),
        ({"text": None, "output_tokens": 1}, "r1  stop  1 token"),
        ({"finish_reason": None}, 'r1  unfinished  " world!"'),
        ({"text": "x" * 99}, 'r1  stop  "' + "x" * 28 + "…"),
    ],
)
def test_a_text_is_one_line(varied: dict[str, Any], expected: str) -> None:
    """It has visible escapes and is cut to the width; without text there is the number of tokens."""
    assert plain_text(format_texts([request(**varied)], width=40)[0]) == expected


@given(
    st.lists(st.builds(request, id=st.text(), text=st.text(), stop_reason=st.text())), st.integers(40, 250)
)
def test_no_line_is_wider_than_the_width(requests: list[RequestReport], width: int) -> None:
    """This holds for all ids, texts and stop strings that a trace may have."""
    run = [("trace", [each.text or "" for each in requests] or [""])]
    lines = format_summary(summary(steps=10**12), 1.0, requests, None, run, width=width)

    assert [cell_len(plain_text(line)) for line in lines if cell_len(plain_text(line)) > width] == []


def test_a_summary_leads_with_what_was_run(tmp_path: Path) -> None:
    """Settings that are not defaults are options to copy, and profiles count as if they were options."""
    path = tmp_path / "p.toml"
    path.write_text('[engine]\nengine = "vllm-v1"\nscheduler_reserve_full_isl = false\nblock_size = 16\n')
    profiles = [load_profile(path)]
    args = engine_args_from_profiles(profiles, stop=["a b", "\x1b"], clock="constant:1s", max_num_seqs=8)
    run = RunSettings(args, [replace(profiles[0], name="p.toml")], ["t.jsonl", "-", "e\x1b"], limit=5).rows()
    lines = [plain_text(line).rstrip() for line in format_summary(summary(), run=run, width=60)]

    assert lines[:8] == [
        "engine         vllm-v1: as in vLLM 0.32",
        "profile        p.toml",
        "settings       --max-num-seqs 8",
        "               --no-scheduler-reserve-full-isl --stop 'a b'",
        "               --stop '\\x1b' --limit 5",
        "trace          t.jsonl, standard input, e\\x1b",
        "clock          constant:1s",
        "requests       3: 2 stop, 1 length",
    ]


def test_a_run_with_defaults_still_names_its_engine_and_at_most_five_traces() -> None:
    rows = RunSettings(EngineArgs(), [], [f"{number}.jsonl" for number in range(1200)]).rows()

    assert [(title, " ".join(words)) for title, words in rows] == [
        ("engine", "simple: prefill first, not a scheduler of vLLM"),
        ("trace", "0.jsonl, 1.jsonl, 2.jsonl, 3.jsonl, 4.jsonl and 1,195 more"),
    ]


def test_figures_under_a_clock_have_the_names_of_the_field() -> None:
    latency = Latency(0.5, 0.022, 0.0089, 1.0472, 12.345)
    missed = {"ttft": 1, "tpot": 0, "e2e": 2}
    metrics = Metrics(2.0, 1.5, 8.5, 16.0, 3.25, latency, None, None, None, latency, 1.0, 0.66, missed)
    lines = [plain_text(line) for line in format_summary(summary(peak_kv_cache_usage=0.127), metrics=metrics)]

    assert lines[6:] == [
        "peak KV cache usage  12.7%",
        "virtual time         2.000 s",
        "request throughput   1.50 requests/s",
        "token throughput     8.5 output tokens/s, 16.0 total tokens/s",
        "mean concurrency     3.2 requests",
        "goodput              1.00 requests/s",
        "SLO attainment       66.0% of requests; e2e missed by 2, ttft missed by 1",
        "latency (ms)                mean        p50        p90        p95        p99",
        "queue time                   500       22.0       8.90      1,047     12,345",
        "TTFT                         500       22.0       8.90      1,047     12,345",
    ]


def test_attainment_names_no_limit_that_all_requests_keep() -> None:
    """Without a request that finished there is no attainment."""
    met = Metrics(1.0, 1.0, 1.0, 1.0, 1.0, None, None, None, None, None, 1.0, 1.0, {"ttft": 0})

    assert ("SLO attainment", "100.0% of requests") in summary_rows(summary(), met)
    nothing = replace(met, goodput=0.0, slo_attainment=None)
    assert "SLO attainment" not in dict(summary_rows(summary(), nothing))


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        (0.0, "0.00"),
        (0.000_001_5, "1.50e-06"),
        (0.001, "0.00100"),
        (0.15, "0.150"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (99.96, "100"),
        (1_234_567.8, "1,234,568"),
    ],
)
def test_milliseconds_have_three_significant_digits(milliseconds: float, expected: str) -> None:
    """Digits before the point stay, and rounding up to a power of ten gives no fourth digit."""
    assert format_milliseconds(milliseconds / 1000) == expected
