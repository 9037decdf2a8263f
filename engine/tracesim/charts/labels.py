"""Times, numbers and untrusted names as text for charts."""

from __future__ import annotations

from tracesim.charts.timeline import Unit


def visible(text: str, most: int | None = None) -> str:
    r"""Return `text` with invisible characters as `\x1b` or `\u202e`, cut to `most` characters.

    The result is not HTML; whoever writes HTML escapes it.
    """
    if not text.isprintable():
        text = "".join(each if each.isprintable() else escape_character(each) for each in text)
    return text if most is None or len(text) <= most else f"{text[: most - 1]}…"


def escape_character(character: str) -> str:
    """Return one character as an escape sequence."""
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def format_time(value: float, unit: Unit) -> str:
    """Return a point in time: `step 12`, or `1.250 s`."""
    return f"step {value:,.0f}" if unit == "steps" else f"{value:,.3f} s"


def format_duration(value: float, unit: Unit) -> str:
    """Return a duration: `12 steps`, or milliseconds below a second."""
    if unit == "steps":
        return f"{format_number(value)} {'step' if value == 1 else 'steps'}"
    return f"{value * 1e3:,.1f} ms" if value < 1 else f"{value:,.2f} s"


def format_amount(value: float, unit: Unit) -> str:
    """Return a time or a duration without its unit for steps, and in ms or s for seconds."""
    return format_number(value) if unit == "steps" else format_duration(value, unit)


def format_number(value: float) -> str:
    """Return a number, with one decimal if it is needed."""
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:,.1f}"


def format_latency(value: float, unit: Unit) -> str:
    """Return a duration, seconds with three significant digits: `0.150 ms`, `22.0 ms`, `1.05 s`, `312 s`."""
    if unit == "steps":
        return format_duration(value, unit)
    value, name = (value, "s") if value >= 1 else (value * 1000, "ms")
    exponent = int(f"{value:.2e}".partition("e")[2])
    return f"{value:,.{min(3, max(0, 2 - exponent))}f} {name}"
