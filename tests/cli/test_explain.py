"""`tracesim replay --explain`: the stories of requests, after the summary."""

from __future__ import annotations

import pytest

from command_line import run
from paths import SAMPLES

TIGHT = [
    *("--tokenizer", "char", "--engine", "vllm-v1", "--block-size", "4", "--num-gpu-blocks", "11"),
    *("--max-num-seqs", "3", "--max-num-batched-tokens", "16", "--watermark", "0"),
]


def stories(*arguments: str, stream: str = "stdout") -> list[list[str]]:
    """Return the stories that a replay of the tight cache prints, each as its lines."""
    result = run("replay", SAMPLES / "tight_cache.jsonl", *TIGHT, *arguments)
    assert result.exit_code == 0, result.stderr
    paragraphs = getattr(result, stream).split("\n\n")
    return [paragraph.lstrip("\n").splitlines() for paragraph in paragraphs if "It arrived" in paragraph]


def test_a_story_is_the_same_with_and_without_a_row_for_each_step() -> None:
    assert stories("--explain", "r4") == stories("--explain", "r4", "--format", "summary")


def test_stories_are_on_standard_error_beside_data() -> None:
    assert stories("--explain", "r4", "--format", "jsonl", stream="stderr") == stories("--explain", "r4")


def test_several_requests_in_the_order_given() -> None:
    shown = stories("--explain", "r3", "--explain", "r1", "--explain", "r3", "--format", "summary")

    assert [lines[0] for lines in shown] == [
        "r3  2 prompt tokens, 5 output tokens",
        "r1  13 prompt tokens, 5 output tokens",
    ]


def test_times_under_a_clock() -> None:
    (lines,) = stories("--explain", "r5", "--format", "summary", "--clock", "constant:500ms")

    assert lines[1:] == [
        "  before step 0  0.000 s  It arrived.",
        "  steps 0-12     0.000 s  It waited for 13 steps (6.500 s) behind r3 and r4: 38%",
        "                          of these steps for KV blocks, 23% for max_num_seqs,",
        "                          23% for preemption, 15% for token budget.",
        "  steps 13-14    6.500 s  Its prompt was computed: 12 tokens in 2 chunks (3, 9).",
        "  step 14        7.500 s  It emitted its first token.",
        "  step 18        9.500 s  It finished after 5 tokens, at the end of its",
        "                          recording.",
        "                          queue time 6,500 ms, TTFT 7,500 ms, TPOT 500 ms, E2E",
        "                          9,500 ms",
    ]


def test_a_request_that_has_not_finished() -> None:
    result = run(
        "replay", SAMPLES / "tight_cache.jsonl", *TIGHT, "--explain", "r5", "--max-steps", "3",
        "--format", "summary",
    )  # fmt: skip

    assert result.exit_code == 3
    assert "had not finished when the replay ended." in result.stdout


@pytest.mark.parametrize(
    ("unknown", "advice"), [("r55", '; the nearest id is "r5"'), ("\x1b[1mxyz", "")], ids=["near", "far"]
)
def test_an_unknown_request(unknown: str, advice: str) -> None:
    result = run("replay", SAMPLES / "tight_cache.jsonl", *TIGHT, "--explain", unknown)

    shown = unknown.replace("\x1b", "\\x1b")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == (
        f'tracesim: error: --explain is "{shown}", which is no request of the replay{advice}\n'
    )
