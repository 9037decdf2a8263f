"""ShareGPT's JSON: an array of `conversations` of turns with `from` and `value`, or `role` and `content`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from tracesim.trace.formats.conversations import ANSWERING, Conversations, Turn
from tracesim.trace.formats.messages import turn_of
from tracesim.trace.problems import Finding, absent_or_wrong, describe, quote

_ASKING = frozenset(["human", "user", "system", "tool", "observation", "function_response"])


class ShareGPT(Conversations):
    """Each turn of the assistant is a request; a `system` beside the conversation is its first turn."""

    field_names: ClassVar = {"prompt": "conversations", "response": "value"}

    def conversations(self, fields: dict[str, Any]) -> Iterable[tuple[str, Iterable[Turn | Finding]]]:
        """Return the one conversation of an object."""
        return [("conversations", _turns(fields))]


def _turns(fields: dict[str, Any]) -> Iterator[Turn | Finding]:
    """Yield the turns of a conversation, or what is wrong with one."""
    turns = fields.get("conversations")
    if not isinstance(turns, list):
        yield absent_or_wrong("conversations", turns, "a list of turns with from and value")
        return
    if isinstance(fields.get("system"), str) and fields["system"]:
        yield Turn(False, fields["system"])
    for at, turn in enumerate(turns, 1):
        if isinstance(turn, dict) and "role" in turn and "from" not in turn:
            yield turn_of(turn, at, "conversations")
        elif findings := list(_faults(turn, at)):
            yield from findings
        else:
            yield turn_of({**turn, "role": turn["from"], "content": turn["value"]}, at, "conversations")


def _faults(turn: Any, at: int) -> Iterator[Finding]:
    """Yield what is wrong with a turn."""
    if not isinstance(turn, dict):
        message = f"turn {at} is {describe(turn)}; must be an object with from and value"
        yield Finding("wrong-type", "conversations", message)
        return
    for name in ("from", "value"):
        if name not in turn:
            yield Finding("missing-field", name, f"is missing in turn {at}")
        elif not isinstance(turn[name], str):
            yield Finding("wrong-type", name, f"of turn {at} is {describe(turn[name])}; must be a string")
    speaker = turn.get("from")
    if isinstance(speaker, str) and speaker.lower() not in ANSWERING | _ASKING:
        accepted = ", ".join(sorted(_ASKING | ANSWERING))
        yield Finding("bad-value", "from", f"of turn {at} is {quote(speaker)}; must be one of {accepted}")
