"""What the completion of a shell offers for values that are not choices or files."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Complete = Callable[[str], list[str]]


def offering(values: Iterable[str] | Callable[[], Iterable[str]]) -> Complete:
    """Return a completion of `values`, or of what they return when a shell asks for them.

    Where none of them begins with what was typed, the shell offers files.
    """

    def complete(incomplete: str) -> list[str]:
        found = values() if callable(values) else values
        return [value for value in found if value.startswith(incomplete)]

    return complete


def profile_names() -> list[str]:
    """Return the names of the built-in profiles, with the presets."""
    from tracesim.profiles import profile

    return profile.profile_names()


def step_fields() -> Iterable[str]:
    """Return the fields of a step that a comparison can ignore."""
    from tracesim.analysis.step_diff import IGNORABLE

    return IGNORABLE
