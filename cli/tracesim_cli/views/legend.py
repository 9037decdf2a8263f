"""The signs of the table, in lines that fit above it on a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.cells import cell_len

from tracesim.engine.llm_engine import LLMEngine
from tracesim_cli.terminal.lines import Fragment

_STEP_SIGNS: Final = (
    ("r1:8", "prefill of 8 tokens"),
    ("@16", "after 16 computed before"),
    ("~16", "after 16 from the prefix cache"),
    ('r1 "a"', "emits a token"),
    ("!", "decode in vain"),
    ("+1", "one more"),
)
_EVENT_SIGNS: Final = (
    ("10-22", "steps in which only tokens move"),
    *_STEP_SIGNS[:3],
    (">r1", "starts to decode"),
    ("+1", "one more"),
)


def legend_lines(width: int, signs: Iterable[tuple[str, str]]) -> list[list[Fragment]]:
    """Return the signs of a table and their meaning, in as few lines of `width` cells as possible.

    `signs` are those of `signs_of`.
    """
    lines: list[list[Fragment]] = []
    used = width
    for sign, meaning in signs:
        needed = cell_len(sign) + 1 + cell_len(meaning)
        if used + 3 + needed > width:
            lines.append([])
            used = 0
        else:
            lines[-1].append(("   ", ""))
            used += 3
        lines[-1] += [(sign, ""), (f" {meaning}", "dim")]
        used += needed
    return lines


def signs_of(engine: LLMEngine, *, folds: bool) -> list[tuple[str, str]]:
    """Return the signs that the table of a run can have, each with its meaning."""
    never = set()
    if not engine.config.enable_prefix_caching:
        never.add("~16")
    if not engine.config.enable_chunked_prefill:
        never.add("@16")
    if not engine.scheduler.discards:
        never.add("!")
    return [each for each in (_EVENT_SIGNS if folds else _STEP_SIGNS) if each[0] not in never]
