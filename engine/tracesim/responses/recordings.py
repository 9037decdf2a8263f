"""The recordings of a trace, found by their prompts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Final, TypeAlias

from tracesim.errors import UnknownPromptError
from tracesim.trace.record import TraceRecord

Prompt: TypeAlias = "str | tuple[int, ...]"
"""A prompt by which a recording is found: its text, or its token ids."""

_MAX_COMPARED_CHARACTERS: Final = 2_000
_NUM_COMPARED_PIECES: Final = 12


class Recordings:
    """Records, found by the text and by the token ids of their prompts, each of which can be used once."""

    def __init__(self, records: Iterable[TraceRecord]) -> None:
        self._records = list(records)
        self._used: set[int] = set()

    @cached_property
    def _by_prompt(self) -> dict[Prompt, deque[TraceRecord]]:
        by_prompt: dict[Prompt, deque[TraceRecord]] = {}
        for record in self._records:
            if record.prompt is not None:
                by_prompt.setdefault(record.prompt, deque()).append(record)
            if record.prompt_token_ids is not None:
                by_prompt.setdefault(tuple(record.prompt_token_ids), deque()).append(record)
        return by_prompt

    def find(self, prompt: Prompt) -> TraceRecord:
        """Return the next unused recording of a prompt; recordings of one prompt come in the trace's order.

        Raises UnknownPromptError, which names the nearest prompt.
        """
        recordings = self._by_prompt.get(prompt)
        while recordings and id(recordings[0]) in self._used:
            recordings.popleft()
        if recordings:
            return recordings[0]
        if recordings is not None:
            raise UnknownPromptError(
                f"every recorded response to the prompt {shortened(prompt)} has been used"
            )
        message = f"no recorded response has the prompt {shortened(prompt)}"
        if isinstance(prompt, str):
            nearest = _nearest(prompt, [known for known in self._by_prompt if isinstance(known, str)])
            message += "" if nearest is None else f"; the nearest is {shortened(nearest)}"
        raise UnknownPromptError(message)

    def use(self, record: TraceRecord) -> None:
        """Count a record as used, so that `find` does not return it again."""
        self._used.add(id(record))


def shortened(prompt: Prompt) -> str:
    """Return a prompt as messages show it."""
    shown = repr(prompt)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _nearest(wanted: str, texts: Sequence[str]) -> str | None:
    """Return the text that has most pieces of `wanted` and about its length; None if there is no text.

    This is cheap, and finds the right text where a few characters are wrong.
    """
    wanted = wanted[:_MAX_COMPARED_CHARACTERS]
    size = 2 if len(wanted) < 32 else 6
    distance = max(1, len(wanted) // _NUM_COMPARED_PIECES)
    pieces = {wanted[at : at + size] for at in range(0, max(1, len(wanted) - size + 1), distance)}

    def similarity(text: str) -> float:
        head = text[:_MAX_COMPARED_CHARACTERS]
        shared = sum(map(head.__contains__, pieces)) / len(pieces)
        return shared - abs(len(head) - len(wanted)) / (len(head) + len(wanted) + 1)

    return max(texts, key=similarity, default=None)
