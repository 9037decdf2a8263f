"""The page of a comparison: how figures changed, where time was spent, and which requests moved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tracesim.analysis.comparison import ComparedFigure, ReportComparison, RequestComparison
from tracesim.analysis.comparison_text import WHOLE_LABELS, reasons_text, setting_text, signed_time, time_text
from tracesim.analysis.figure_text import format_value, shown_unit, signed_percent, signed_value, with_unit
from tracesim.charts.comparison_charts import SHOWN_UNITS, comparison_charts
from tracesim.charts.labels import visible
from tracesim.charts.page import Card, Page, Section, Table, Toned, Words

_CARDS: Final = {
    "ttft.p50": ("TTFT p50", "Median time to the first token"),
    "ttft.p99": ("TTFT p99", "Time to the first token of 99% of the requests"),
    "tpot.p50": ("TPOT p50", "Median time per output token after the first"),
    "e2e.p50": ("E2E p50", "Median time from arrival to the last token"),
    "output_token_throughput": ("Throughput", "Output tokens per second"),
    "slo_attainment": ("SLO attainment", "Requests that met every limit"),
    "preemptions": ("Preemptions", "How often a request lost its KV cache"),
}
"""The figures that the page leads with: their titles, and what they are."""


def comparison_page(comparison: ReportComparison) -> Page:
    """Return the page of a comparison."""
    reports = zip(comparison.letters, comparison.reports, strict=True)
    return Page(
        title="tracesim compare",
        run=[(letter, visible(report.name)) for letter, report in reports],
        cards=[_card(each, comparison.letters) for each in comparison.figures if each.figure.name in _CARDS],
        facts=[],
        sections=list(_sections(comparison)),
    )


def _sections(comparison: ReportComparison) -> Iterator[Section]:
    """Yield each section that is not empty."""
    if comparison.settings:
        rows = [
            [
                visible(each.name),
                *(visible(setting_text(value), 300) for value in each.values),
            ]
            for each in comparison.settings
        ]
        table = Table("Settings that differ", "", ["setting", *comparison.letters], rows, comparison.letters)
        yield Section("settings", "Settings", [table])
    if charts := comparison_charts(comparison):
        yield Section("requests", "Requests", charts)
    if moved := [_moved(comparison, *pair) for pair in comparison.pairs() if pair[1].moved]:
        yield Section("moved", "Moved most", moved)
    yield Section("figures", "Figures", [_figures(comparison)])


def _card(compared: ComparedFigure, letters: list[str]) -> Card:
    """Return the card of a figure: of two reports the change leads, of several the value of the base."""
    figure = compared.figure
    title, meaning = _CARDS[figure.name]
    values = [
        "–"
        if value is None
        else with_unit(figure, format_value(figure, value)).removesuffix(f" {figure.name}")
        for value in compared.values
    ]
    if len(compared.changes) == 1:
        change = compared.changes[0]
        lead: Words = "–"
        if change is not None:
            amount = signed_percent(change.relative) or signed_value(figure, change.absolute)
            lead = (
                Toned(amount, change.verdict) if change.verdict in ("better", "worse") else amount or "equal"
            )
            meaning = f"{change.verdict.capitalize()}: {meaning[0].lower()}{meaning[1:]}"
        return Card(title, lead, list(zip(letters, values, strict=True)), f"{meaning}.")
    more = []
    for other, (letter, value) in enumerate(zip(letters[1:], values[1:], strict=True)):
        change_words = _change(compared, other)
        words = change_words.text if isinstance(change_words, Toned) else change_words
        more.append((letter, f"{value} ({words})" if words else value))
    return Card(title, values[0], more, f"{meaning}, in A and in the others.")


def _figures(comparison: ReportComparison) -> Table:
    base, *others = comparison.letters
    rows: list[list[Words]] = []
    for each in comparison.figures:
        values = [format_value(each.figure, value) for value in each.values]
        row: list[Words] = [f"{each.figure.name} {shown_unit(each.figure)}".rstrip(), values[0]]
        for other, change in enumerate(each.changes):
            absolute = "" if change is None else signed_value(each.figure, change.absolute)
            row += [values[1 + other], absolute, _change(each, other)]
        rows.append(row)
    note = "Better and worse are where a figure has a direction; A is what the others are compared with."
    head = ["figure", base, *(word for letter in others for word in (letter, "change", ""))]
    return Table("All figures", note, head, rows)


def _change(compared: ComparedFigure, other: int) -> Words:
    """Return a change in percent, with its verdict as a word and a colour."""
    change = compared.changes[other]
    if change is None or change.verdict == "equal":
        return "" if change is None else "equal"
    amount = signed_percent(change.relative) or signed_value(compared.figure, change.absolute)
    if change.verdict == "changed":
        return amount
    return Toned(f"{amount} {change.verdict}".lstrip(), change.verdict)


def _moved(comparison: ReportComparison, letter: str, found: RequestComparison) -> Table:
    unit = comparison.unit
    rows: list[list[Words]] = [
        [
            visible(each.id, 60),
            time_text(each.before.total, unit),
            time_text(each.after.total, unit),
            Toned(signed_time(each.change, unit), "better" if each.change < 0 else "worse"),
            reasons_text(each, unit),
        ]
        for each in found.moved
    ]
    counts = f"{found.faster:,} faster, {found.slower:,} slower, {found.equal:,} equal"
    compared = f"{found.compared:,} compared by {WHOLE_LABELS[comparison.whole]}: {counts}"
    note = f"{compared}. Times are in {SHOWN_UNITS[unit]}."
    return Table(f"A and {letter}", note, ["request", "A", letter, "change", "why"], rows, ["why"])
