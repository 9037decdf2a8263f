"""An HTML page of a run that works offline: it contains Plotly's JavaScript and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from string import Template

import orjson

from tracesim.charts.chart_data import ChartData
from tracesim.charts.labels import visible
from tracesim.charts.latency_charts import latency_charts
from tracesim.charts.request_chart import MOST_ROWS, request_charts
from tracesim.charts.tables import Table, tables
from tracesim.charts.time_charts import Chart, charts_over_time, phases_chart
from tracesim.errors import ConfigError, needs_package


def plotly_javascript() -> str:
    """Return Plotly's JavaScript, 5 MB. Raises ConfigError with the command that installs Plotly."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ConfigError(needs_package("an HTML page", "plotly")) from error
    javascript: str = get_plotlyjs()
    return javascript


Section = tuple[str, str, Sequence[Chart | Table]]
"""The key, the title and the content of a section."""


def html_page(data: ChartData) -> bytes:
    """Return the page of a run in UTF-8. Raises ConfigError if Plotly is not installed."""
    return page_of(data.title, data.run, data.summary, list(_sections(data)))


def page_of(
    title: str,
    rows: Sequence[tuple[str, str]],
    summary: Sequence[tuple[str, str]],
    content: Sequence[Section],
) -> bytes:
    """Return a page in UTF-8: `rows` of names and values, cards with the `summary`, and sections.

    The page's content security policy allows the scripts in it, by their hashes, and no network requests.
    Raises ConfigError if Plotly is not installed.
    """
    scripts = [_in_script(plotly_javascript()), _in_script(_asset("page.js"))]
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    cards = ""
    for name, value in summary:
        figure, _, parts = value.partition(": ")
        more = f"<small>{_text(parts)}</small>" if parts else ""
        cards += f"<div><dt>{_text(name)}</dt><dd>{_text(figure)}{more}</dd></div>"
    run = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in rows)
    links = sections = ""
    charts = []
    for key, heading, parts_of_it in content:
        links += f'<a href="#{key}">{_text(heading)}</a>'
        inner = "".join(_chart(each) if isinstance(each, Chart) else _table(each) for each in parts_of_it)
        sections += (
            f'<section id="{key}"><h2>{_text(heading)}</h2><div class="content">{inner}</div></section>'
        )
        charts += [asdict(each) for each in parts_of_it if isinstance(each, Chart)]
    page = Template(_asset("page.html")).substitute(
        title=_text(title),
        policy=" ".join(f"'sha256-{each}'" for each in hashes),
        style=_asset("page.css"),
        links=links,
        run=run and f'<dl class="run">{run}</dl>',
        summary=cards,
        sections=sections,
        plotly=scripts[0],
        # A script element ends at `</script`, so that its JSON may not contain any `<`.
        charts=orjson.dumps(charts).decode().replace("<", r"\u003c"),
        script=scripts[1],
    )
    return page.encode()


def _sections(data: ChartData) -> Iterator[Section]:
    """Yield the key, the title and the content of each section that is not empty."""
    timeline = data.timeline
    if over_time := charts_over_time(data):
        yield "over-time", "Over time", over_time
    if latencies := latency_charts(data):
        yield "latency", "Latency", latencies
    spans = timeline.spans_by_request()
    if timeline.requests and len(timeline.steps):
        rows = request_charts(timeline, spans)
        is_selection = len(timeline.requests) > MOST_ROWS
        yield "requests", "Requests", [phases_chart(timeline), *rows] if is_selection else rows
    if all_tables := tables(data, spans):
        yield "tables", "Tables", all_tables


def _chart(chart: Chart) -> str:
    """Return the place of a chart, which page.js draws; a choice of figures is a group of radio buttons."""
    choices = ""
    if len(chart.figures) > 1:
        buttons = "".join(
            f'<label><input type="radio" name="{chart.key}-choice" value="{_text(name)}"'
            f"{'' if number else ' checked'}>{_text(name)}</label>"
            for number, name in enumerate(chart.figures)
        )
        choices = f"<fieldset><legend>Show</legend>{buttons}</fieldset>"
    return (
        f'<figure class="{"small" if chart.small else "wide"}">'
        f'<figcaption><h3 id="{chart.key}-title">{_text(chart.title)}</h3>'
        f'<p id="{chart.key}-note">{_text(chart.note)}</p></figcaption>{choices}'
        f'<div class="chart" id="chart-{chart.key}" role="img" tabindex="0" style="height: {chart.height}px"'
        f' aria-labelledby="{chart.key}-title" aria-describedby="{chart.key}-note"></div></figure>'
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in table.head)
    rows = ""
    for name, *cells in table.rows:
        others = "".join(f"<td>{_text(cell)}</td>" for cell in cells)
        rows += f'<tr><th scope="row"><bdi>{_text(name)}</bdi></th>{others}</tr>'
    kind = "words" if len(table.head) == 2 else "figures"
    note = f"<p>{_text(table.note)}</p>" if table.note else ""
    return (
        f'<div class="table"><h3>{_text(table.title)}</h3>{note}'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_text(table.title)}">'
        f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></div>'
    )


def _text(text: str) -> str:
    return html.escape(visible(text))


def _in_script(javascript: str) -> str:
    """Return JavaScript as a browser hashes it, without carriage returns; nothing in it ends the element."""
    return javascript.replace("\r\n", "\n").replace("</script", r"<\/script").replace("<!--", r"<\!--")


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
