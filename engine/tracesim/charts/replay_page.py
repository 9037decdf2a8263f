"""The page of a replay: its cards, the timeline of its requests, and its charts and tables."""

from __future__ import annotations

from collections.abc import Iterator

from tracesim.charts.cards import cards_of
from tracesim.charts.chart_data import ChartData
from tracesim.charts.lanes import request_lanes
from tracesim.charts.latency_charts import latency_charts
from tracesim.charts.page import Content, Page, Section
from tracesim.charts.tables import tables
from tracesim.charts.time_charts import charts_over_time, phases_chart, queue_chart


def replay_page(data: ChartData) -> Page:
    """Return the page of a replay."""
    cards = cards_of(data)
    on_cards = {card.title.lower() for card in cards}
    facts = [(name, value) for name, value in data.summary if name.lower() not in on_cards]
    return Page(data.title, data.run, cards, facts, list(_sections(data)))


def _sections(data: ChartData) -> Iterator[Section]:
    """Yield each section that is not empty."""
    timeline = data.timeline
    spans = timeline.spans_by_request()
    if timeline.requests and len(timeline.strides):
        pictures: list[Content] = [request_lanes(timeline, spans)]
        if queue := queue_chart(timeline, spans):
            pictures.append(queue)
        yield Section("requests", "Requests", [*pictures, phases_chart(timeline, spans)])
    if over_time := charts_over_time(data):
        yield Section("over-time", "Over time", over_time)
    if latencies := latency_charts(data):
        yield Section("latency", "Latency", latencies)
    if all_tables := tables(data, spans):
        yield Section("tables", "Tables", all_tables)
