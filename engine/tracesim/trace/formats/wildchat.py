"""Conversations of WildChat and LMSYS: `conversation`, a list of messages with `role` and `content`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from tracesim.trace.formats.conversations import Conversations, Turn
from tracesim.trace.formats.messages import turns_of
from tracesim.trace.problems import Finding

_OF_TWO_MODELS = ("conversation_a", "conversation_b")


class WildChat(Conversations):
    """Each answer of a conversation is a request; a comparison of two models has two conversations.

    The times in WildChat are those at which answers were complete, so there are no arrival times.
    """

    field_names: ClassVar = {"prompt": "conversation", "response": "content"}

    def conversations(self, fields: dict[str, Any]) -> Iterable[tuple[str, Iterable[Turn | Finding]]]:
        """Return the one conversation of an object, or those with the two models."""
        names = [name for name in _OF_TWO_MODELS if name in fields] or ["conversation"]
        return [(name, turns_of(fields, name)) for name in names]
