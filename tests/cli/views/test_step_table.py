"""The table of steps: one line per step, within the width, that says what happened."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, overload

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from steps import a_step_record
from tracesim.engine.step_records import (
    CachedTokens,
    EmittedToken,
    FinishedRequest,
    ScheduledTokens,
    StepRecord,
)
from tracesim_cli.terminal.lines import plain_text
from tracesim_cli.terminal.text import clip
from tracesim_cli.views.items import Item, fit
from tracesim_cli.views.request_colors import request_style
from tracesim_cli.views.step_table import StepTable


def row(width: int = 100, *, finite_blocks: bool = False, **varied: Any) -> str:
    """Return the line of one step without styles."""
    record = a_step_record(**varied)
    return plain_text(StepTable(width, finite_blocks=finite_blocks).row_fragments(record))


def decoding(*ids: str) -> list[ScheduledTokens]:
    return [ScheduledTokens(request_id, 5, 1) for request_id in ids]


ids = st.text(max_size=40) | st.sampled_from(["r1", "x" * 10_000, "[red]", "\x1b[31m", "漢字" * 30, "+9"])
texts = st.text(max_size=40) | st.sampled_from([" world", "\n", "\u202e", "👩\u200d👩", "e\u0301", '"'])
scheduled = st.builds(ScheduledTokens, ids, st.integers(0, 10**6), st.integers(1, 10**6))
emitted = st.builds(EmittedToken, ids, st.none() | st.integers(0, 10**6), st.none() | texts)
finished = st.builds(
    FinishedRequest, ids, st.sampled_from(["stop", "length", "abort"]) | texts, st.none() | texts
)
records = st.builds(
    StepRecord,
    step=st.integers(0, 10**12),
    prefill=st.lists(scheduled, max_size=6),
    decode=st.lists(scheduled, max_size=6),
    emitted=st.lists(emitted, max_size=6),
    finished=st.lists(finished, max_size=6),
    preempted=st.lists(ids, max_size=6),
    running=st.just(0),
    waiting=st.just(0),
    free_blocks=st.none(),
)


@given(records, st.integers(40, 250), st.booleans())
def test_a_row_is_one_printable_line_within_the_width(
    record: StepRecord, width: int, finite_blocks: bool
) -> None:
    """Whatever a trace has in it, a row has at most `width` cells and no control or format character."""
    line = StepTable(width, finite_blocks=finite_blocks).row(record).plain

    assert cell_len(line) <= width
    assert [char for char in line if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")] == []


@given(st.integers(1, 10_000), st.integers(40, 250))
def test_shown_and_counted_make_the_batch(size: int, width: int) -> None:
    """The requests in the cell and the "+N" after them add up."""
    cell = row(width, decode=decoding(*(f"r{number}" for number in range(size)))).split()[1:]
    omitted = int(cell.pop()) if cell[-1].startswith("+") else 0

    assert len(cell) + omitted == size
    assert cell != []


class LargeBatch(Sequence[ScheduledTokens]):
    """A batch that fails if more than its first few requests are read."""

    def __len__(self) -> int:
        return 10_000

    @overload
    def __getitem__(self, index: int) -> ScheduledTokens: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ScheduledTokens]: ...
    def __getitem__(self, index: int | slice) -> Any:
        assert isinstance(index, int)
        assert index < 30
        return ScheduledTokens(f"r{index}", 5, 1)


def test_a_large_batch_is_not_read_to_its_end() -> None:
    """The time to draw a row depends on what it shows, not on the size of the batch."""
    assert row(100, decode=LargeBatch()).split()[-1] == "+9981"


def test_items_that_fit_exactly_need_no_count() -> None:
    """The last item may take the cells that a count would need."""
    items = [Item("aa", "", "", "", 2)] * 3

    assert plain_text(fit(items, 3, 8)[0]) == "aa aa aa"
    assert plain_text(fit(items, 3, 7)[0]) == "aa +2"


def test_prefill_shows_its_tokens_and_those_computed_before() -> None:
    """`@` marks a prefill after tokens computed before, `~` one after tokens from the prefix cache."""
    prefill = [ScheduledTokens("r1", 0, 8), ScheduledTokens("r1", 16, 8), ScheduledTokens("r2", 16, 8)]
    shown = row(200, prefill=prefill, cached=[CachedTokens("r2", 16)]).split()

    assert shown == ["0", "r1:8", "r1:8@16", "r2:8~16"]


@pytest.mark.parametrize(
    ("token_id", "text", "expected"),
    [
        (1917, " world", 'r1 " world"'),
        (1917, 'a"\n\\', r'r1 "a\"\n\\"'),
        (1917, None, "r1 1917"),
        (None, None, "r1 ·"),
    ],
)
def test_an_emitted_token_is_its_text_or_id_or_a_dot(
    token_id: int | None, text: str | None, expected: str
) -> None:
    """Text is quoted, with visible escapes; a dot stands for a token whose id is not known."""
    assert row(emitted=[EmittedToken("r1", token_id, text)]).endswith(expected)


@pytest.mark.parametrize(
    ("finish_reason", "stop_reason", "expected"),
    [("stop", None, "r1 stop"), ("stop", "STOP", 'r1 stop "STOP"'), ("length", None, "r1 length")],
)
def test_a_finished_request_says_why(finish_reason: str, stop_reason: str | None, expected: str) -> None:
    """A stop string is quoted after the reason."""
    assert row(finished=[FinishedRequest("r1", finish_reason, stop_reason)]).endswith(expected)


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (60, "step prefill:n decode emitted events"),
        (80, "step prefill decode emitted events"),
        (200, "step prefill decode emitted finished preempted"),
    ],
)
def test_columns_suit_the_width(width: int, titles: str) -> None:
    """A narrow table has one column for the batch, and a wide one has a column for preemptions."""
    assert StepTable(width, finite_blocks=True).header().plain.split() == titles.split()


def test_preemptions_share_a_column_in_a_narrow_table() -> None:
    """They come before the finished requests, and are named."""
    happened = {"finished": [FinishedRequest("r1", "stop", None)], "preempted": ["r5"]}

    assert row(100, finite_blocks=True, **happened).endswith("r5 preempted  r1 stop")
    assert row(200, finite_blocks=True, **happened).split()[1:] == ["r1", "stop", "r5"]


@pytest.mark.parametrize("request_id", ["r1", "漢字", "👍🏽", "e\u0301", "x" * 200, "\x1b[31m"])
def test_columns_stay_aligned(request_id: str) -> None:
    """Cells are counted as a terminal does, wide and combining characters too."""
    table = StepTable(100)
    line = table.row(
        a_step_record(decode=decoding(request_id), finished=[FinishedRequest("END", "stop", None)])
    ).plain

    assert cell_len(line[: line.index("END")]) == table.header().plain.index("finished")


@pytest.mark.parametrize("number", [0, 999_999, 12_345_678, 10**30])
def test_a_long_step_number_does_not_move_later_columns(number: int) -> None:
    """It takes cells from the next column only."""
    line = row(step=number, prefill=[ScheduledTokens("r1", 0, 8)], decode=decoding("END"))

    assert line.index("END") == row(decode=decoding("END")).index("END")


@pytest.mark.parametrize(
    ("request_id", "expected"), [("a b", '"a b"'), ("", '""'), ("+99", '"+99"'), ("a\n", "a\\n")]
)
def test_an_id_is_one_word(request_id: str, expected: str) -> None:
    """An id that could be read as two entries or as a count is quoted."""
    assert row(decode=decoding(request_id)).split(maxsplit=1)[1] == expected


def test_a_short_id_is_never_cut() -> None:
    """What happened is cut instead: a part of a short id would not identify the request."""
    item = Item("r1234", "", " preempted", "", 15)

    assert plain_text(fit([item, item], 2, 11)[0]) == "r1234 p… +1"


def test_markup_in_a_trace_stays_text() -> None:
    """Rich does not interpret it."""
    text = StepTable(100).row(a_step_record(emitted=[EmittedToken("[b]", 1, "[red]x[/red]")]))

    assert text.plain.endswith('[b] "[red]x[/red]"')
    assert {str(span.style) for span in text.spans} == {"dim", request_style("[b]")}


def test_finish_reasons_have_their_colours() -> None:
    """Green for stop, yellow for length, red for abort and for the request that needed blocks."""
    finished = [FinishedRequest(f"r{why}", why, None) for why in ("stop", "length", "abort")]
    text = StepTable(200, finite_blocks=True).row(
        a_step_record(finished=finished, preempted=["r9"], preempted_for=["r8"])
    )
    colours = {text.plain[span.start : span.end].strip(): str(span.style) for span in text.spans}

    assert {why: colours[why] for why in ("stop", "length", "abort", "for r8")} == {
        "stop": "green",
        "length": "yellow",
        "abort": "red",
        "for r8": "red",
    }


def test_a_long_id_is_cut_before_what_happened() -> None:
    """What happened to the request stays readable."""
    emitted = [EmittedToken("chatcmpl-8f3a2b7c", 1917, " world")]
    line = row(60, emitted=emitted, finished=[FinishedRequest("chatcmpl-8f3a2b7c", "length", None)])

    assert re.search(r"chatcmpl-\w*… length$", line)


def test_an_event_takes_cells_from_the_entries_before_it() -> None:
    """An id that is preempted is shown whole, and with what happened, where others are only counted."""
    emitted = [EmittedToken(f"r{number}", 1917, " world") for number in range(9)]
    line = row(60, finite_blocks=True, emitted=emitted, preempted=["r1234", "r1235"])

    assert re.search(r"\+8  r1234 preempted \+1$", line)


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("漢字", 3, "漢…"), ("漢字", 2, "…"), ("a", 0, "")],
)
def test_clip_cuts_whole_characters(text: str, width: int, expected: str) -> None:
    """Half a wide character is not shown."""
    assert clip(text, width) == expected
