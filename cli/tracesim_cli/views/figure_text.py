"""The value of a figure in its unit, as people read it: times in milliseconds, fractions in percent."""

from __future__ import annotations

from typing import Final

from tracesim.analysis.figures import Figure
from tracesim_cli.views.summary_view import format_milliseconds

SHOWN_UNITS: Final = {"s": "ms", "fraction": "%", "yes or no": ""}
"""The unit in which values are shown; others are shown as they are."""


def format_value(figure: Figure, value: float | None) -> str:
    """Return a value without its unit, with some three significant digits: `1,047`, `99.2`, `yes`, `none`."""
    if value is None:
        return "none"
    if figure.unit == "yes or no":
        return "yes" if value else "no"
    if figure.unit == "s":
        return format_milliseconds(value)
    if figure.unit == "fraction":
        return f"{value * 100:.1f}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{2 if value < 100 else 1}f}"


def format_unlike(figure: Figure, value: float, limit: float) -> str:
    """Return a value with its unit, with as many digits as it takes to tell it from `limit`."""
    shown = format_value(figure, value)
    if shown == format_value(figure, limit) and value != limit:
        return f"{value!r} {figure.unit}"
    return with_unit(figure, shown)


def with_unit(figure: Figure, shown: str) -> str:
    """Return a shown value with its unit: `1,047 ms`, `99.2%`, `3 requests`."""
    unit = SHOWN_UNITS.get(figure.unit, figure.unit)
    return f"{shown}%" if unit == "%" else f"{shown} {unit}".rstrip()
