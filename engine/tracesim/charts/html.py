"""Pages that work offline: each contains Plotly's JavaScript, where it has charts, and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from string import Template

import orjson

from tracesim.charts.labels import visible
from tracesim.charts.page import Card, Chart, Content, Lanes, Page, Section, Share, Table, Toned, Words
from tracesim.errors import ConfigError, needs_package


def plotly_javascript() -> str:
    """Return Plotly's JavaScript, 5 MB. Raises ConfigError with the command that installs Plotly."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ConfigError(needs_package("an HTML page", "plotly")) from error
    javascript: str = get_plotlyjs()
    return javascript


def page_to_html(page: Page) -> bytes:
    """Return the page in UTF-8. Raises ConfigError if Plotly is not installed.

    Its content security policy allows the scripts in it, by their hashes, and no network requests.
    """
    content = [each for section in page.sections for each in section.content]
    charts = [asdict(each) for each in content if isinstance(each, Chart)]
    lanes = [each.data for each in content if isinstance(each, Lanes)]
    javascript = [plotly_javascript(), _asset("page.js"), _asset("lanes.js"), "tracesim.start();"]
    scripts = [_in_script(each) for each in javascript]
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    links = "".join(f'<a href="#{each.key}">{_text(each.title)}</a>' for each in page.sections)
    return (
        Template(_asset("page.html"))
        .substitute(
            title=_text(page.title),
            policy=" ".join(f"'sha256-{each}'" for each in hashes),
            style=_asset("page.css"),
            links=links,
            run=_list("run", page.run),
            cards="".join(map(_card, page.cards)),
            facts=_list("facts", page.facts),
            sections="".join(map(_section, page.sections)),
            charts=_json(charts),
            lanes=_json(lanes),
            scripts="\n".join(f"<script>{script}</script>" for script in scripts),
        )
        .encode()
    )


def _json(value: object) -> str:
    """Return JSON for a script element, which ends at `</script`: it may not contain any `<`."""
    return orjson.dumps(value).decode().replace("<", r"\u003c")


def _list(kind: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return titles with their values; of a value such as `3: 2 stop` what follows the colon is smaller."""
    items = ""
    for name, value in rows:
        figure, colon, parts = value.partition(": ") if kind == "facts" else (value, "", "")
        more = f"<small>{_text(parts)}</small>" if colon else ""
        items += f"<div><dt>{_text(name)}</dt><dd>{_text(figure)}{more}</dd></div>"
    return items and f'<dl class="{kind}">{items}</dl>'


def _card(card: Card) -> str:
    more = "".join(f"<span><b>{_text(name)}</b> {_text(value)}</span>" for name, value in card.more)
    return (
        f'<article class="card"><h2>{_text(card.title)}</h2><p class="value">{_words(card.value)}</p>'
        + (more and f'<p class="more">{more}</p>')
        + (_shares(card.shares) if card.shares else "")
        + (f'<p class="note">{_text(card.note)}</p></article>')
    )


def _shares(shares: Iterable[Share]) -> str:
    """Return a bar of shares in their colours, and a legend of those that have a label."""
    bar = legend = ""
    for share in shares:
        colour = f"--role: var(--{share.role.replace('_', '-')})"
        bar += f'<i style="{colour}; flex-grow: {share.fraction:.4f}"></i>'
        if share.label:
            legend += f'<li style="{colour}">{_text(share.label)}</li>'
    return f'<div class="shares" aria-hidden="true">{bar}</div>' + (
        legend and f'<ul class="legend">{legend}</ul>'
    )


def _section(section: Section) -> str:
    content = "".join(map(_content, section.content))
    title = f"<h2>{_text(section.title)}</h2>"
    return f'<section id="{section.key}">{title}<div class="content">{content}</div></section>'


def _content(content: Content) -> str:
    if isinstance(content, Table):
        return _table(content)
    return _chart(content) if isinstance(content, Chart) else _lanes(content)


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


def _lanes(lanes: Lanes) -> str:
    """Return the place of a timeline of requests, which lanes.js draws, with its search and its details."""
    return (
        f'<figure class="wide lanes"><figcaption><h3 id="lanes-title">{_text(lanes.title)}</h3>'
        f'<p id="lanes-note">{_text(lanes.note)}</p></figcaption>'
        '<form class="search" role="search"><label for="search">Find a request</label>'
        '<input id="search" type="search" autocomplete="off" spellcheck="false" placeholder="id">'
        '<button type="submit">Find</button><button type="button" id="fit">All requests</button>'
        '<span id="found" role="status"></span></form>'
        '<ul class="legend" id="lanes-legend"></ul>'
        '<div class="canvas"><canvas id="lanes" tabindex="0" role="img" aria-labelledby="lanes-title"'
        ' aria-describedby="lanes-note"></canvas><div id="tip" hidden></div></div>'
        '<div id="details" aria-live="polite"></div></figure>'
    )


def _table(table: Table) -> str:
    texts = [' class="text"' if title in table.texts else "" for title in table.head]
    head = "".join(
        f'<th scope="col"{text}>{_text(name)}</th>' for name, text in zip(table.head, texts, strict=True)
    )
    rows = ""
    for name, *cells in table.rows:
        others = "".join(
            f"<td{text}>{_words(cell)}</td>" for cell, text in zip(cells, texts[1:], strict=True)
        )
        rows += f'<tr><th scope="row"><bdi>{_words(name)}</bdi></th>{others}</tr>'
    kind = "words" if len(table.head) == 2 else "figures"
    note = f"<p>{_text(table.note)}</p>" if table.note else ""
    return (
        f'<div class="table"><h3>{_text(table.title)}</h3>{note}'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_text(table.title)}">'
        f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></div>'
    )


def _words(words: Words) -> str:
    if isinstance(words, Toned):
        return f'<span style="color: var(--{words.role})">{_text(words.text)}</span>'
    return _text(words)


def _text(text: str) -> str:
    return html.escape(visible(text))


def _in_script(javascript: str) -> str:
    """Return JavaScript as a browser hashes it, without carriage returns; nothing in it ends the element."""
    return javascript.replace("\r\n", "\n").replace("</script", r"<\/script").replace("<!--", r"<\!--")


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
