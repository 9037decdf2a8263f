"""CSV that is safe to open in a spreadsheet."""

from __future__ import annotations

from tracesim.analysis.csv_text import to_csv


def test_texts_are_no_formulas_and_other_values_are_written_whole() -> None:
    rows: list[list[object]] = [["stop", "rate", "error"], [["a", "b"], -1.5, "=1+1"], ["\x1b", True, None]]

    assert to_csv(rows) == b"stop,rate,error\n\"['a', 'b']\",-1.5,'=1+1\n\\x1b,True,\n"
