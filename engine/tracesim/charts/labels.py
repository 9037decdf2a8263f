"""Times, counts and untrusted names as words."""

from __future__ import annotations

from tracesim.charts.timeline import Unit


def visible(text: str, most: int | None = None) -> str:
    r"""`text` with what does not show as `\x1b` or `\u202e`, and no longer than `most` characters.

    It is no HTML yet: who writes HTML escapes it.
    """
    if not text.isprintable():
        text = "".join(each if each.isprintable() else repr_of(each) for each in text)
    return text if most is None or len(text) <= most else f"{text[: most - 1]}…"


def repr_of(character: str) -> str:
    """One character as an escape."""
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def moment(value: float, unit: Unit) -> str:
    """A point in time: `step 12`, or `1.250 s`."""
    return f"step {value:,.0f}" if unit == "steps" else f"{value:,.3f} s"


def period(value: float, unit: Unit) -> str:
    """A length of time: `12 steps`, or milliseconds below a second."""
    if unit == "steps":
        return f"{bare(value)} {'step' if value == 1 else 'steps'}"
    return f"{value * 1e3:,.1f} ms" if value < 1 else f"{value:,.2f} s"


def amount(value: float, unit: Unit) -> str:
    """A time or a length of time where the unit is said once for many: steps bare, seconds as ms or s."""
    return bare(value) if unit == "steps" else period(value, unit)


def bare(value: float) -> str:
    """A number with one decimal where that says something."""
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:,.1f}"
