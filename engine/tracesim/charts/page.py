"""What a page consists of. All texts are plain; `html` escapes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Toned(NamedTuple):
    """A text in the colour of a role, such as "better"."""

    text: str
    role: str


Words = str | Toned


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole: `fraction` is from 0 to 1, and `role` names its colour."""

    label: str
    role: str
    fraction: float


@dataclass(frozen=True, slots=True)
class Card:
    """A figure that a page leads with: the main `value`, further values by name, and a sentence.

    `shares` are drawn as a bar with a legend.
    """

    title: str
    value: Words = ""
    more: Sequence[tuple[str, str]] = ()
    note: str = ""
    shares: Sequence[Share] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: its Plotly `figures` by the name of the choice that shows each, or a single one.

    The figures have no colours, which the page adds for the reader's theme: a trace's `meta.role` names its
    colour. `over_time` charts zoom together. `height` is in pixels.
    """

    key: str
    title: str
    note: str
    figures: Mapping[str, dict[str, Any]]
    over_time: bool = True
    height: int = 300
    small: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first column names the row, and `texts` are the titles of other columns with words."""

    title: str
    note: str
    head: Sequence[str]
    rows: Sequence[Sequence[Words]]
    texts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Lanes:
    """A timeline of requests, a lane for each, which lanes.js draws from `data`; see `lanes`."""

    title: str
    note: str
    data: Mapping[str, Any]


Content = Chart | Table | Lanes


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of a page. `key` is the name of its anchor."""

    key: str
    title: str
    content: Sequence[Content]


@dataclass(frozen=True, slots=True)
class Page:
    """A page: what was run, what came out of it, and sections with pictures of it.

    `run` and `facts` have a title and a value per row.
    """

    title: str
    run: Sequence[tuple[str, str]]
    cards: Sequence[Card]
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
