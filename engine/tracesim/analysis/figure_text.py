"""Figures as people read them: in milliseconds or percent, and their changes with a sign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tracesim.analysis.figures import Figure

_SHOWN_UNITS: Final = {"s": "ms", "fraction": "%", "yes or no": ""}
"""The unit in which values are shown; others are shown as they are."""


def format_milliseconds(seconds: float) -> str:
    """Return a time in milliseconds with three significant digits, and all digits before the point.

    `1,047`, `22.0`, `0.150`; and `1.50e-06` below a microsecond.
    """
    value = seconds * 1000
    rounded = f"{value:.2e}"
    exponent = int(rounded.partition("e")[2])
    return rounded if exponent < -3 else f"{value:,.{max(0, 2 - exponent)}f}"


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


def shown_unit(figure: Figure) -> str:
    """Return the unit to show after the name of a figure; none if the name says it, as of `steps`."""
    unit = _SHOWN_UNITS.get(figure.unit, figure.unit)
    return "" if figure.name.endswith(unit) else unit


def with_unit(figure: Figure, shown: str) -> str:
    """Return a shown value with its unit: `1,047 ms`, `99.2%`, `3 requests`."""
    unit = _SHOWN_UNITS.get(figure.unit, figure.unit)
    return f"{shown}%" if unit == "%" else f"{shown} {unit}".rstrip()


def signed_value(figure: Figure, change: float) -> str:
    """Return the change of a figure with its sign: `+12.5`, `-3`; nothing if there is none to show."""
    if figure.unit == "yes or no" or not change:
        return ""
    shown = format_value(figure, abs(change))
    if not shown.strip("0."):
        shown = f"{abs(change) * (100 if figure.unit == 'fraction' else 1):.1g}"
    return sign_of(change) + shown


def signed_percent(relative: float | None) -> str:
    """Return a change in percent in at most 7 characters, `-7.8%`; nothing without a base or a change."""
    if not relative:
        return ""
    if relative >= 100:
        return ">9,999%"
    if abs(relative) < 0.0005:
        return f"{relative:+.2%}" if abs(relative) >= 0.0001 else "<0.01%"
    return f"{relative:+,.0%}" if relative >= 10 else f"{relative:+.1%}"


def sign_of(change: float) -> str:
    """Return the sign of a change."""
    return "+" if change > 0 else "-"
