"""Conversations of WildChat and LMSYS: `conversation`, a list of messages with `role` and `content`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.conversations import Conversations
from tracesim.trace.formats.interface import Entry
from tracesim.trace.formats.json_objects import json_objects
from tracesim.trace.formats.messages import turns_of
from tracesim.trace.input_file import InputFile

_OF_TWO_MODELS = ("conversation_a", "conversation_b")


class WildChat(Conversations):
    """Each answer of a conversation is a request; a comparison of two models has two conversations.

    The times in WildChat are those at which answers were complete, so there are no arrival times.
    """

    field_names: ClassVar = {"prompt": "conversation", "response": "content"}

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Yield an entry for each answer; its line is that of the conversation."""
        for item in json_objects(file):
            if isinstance(item, TraceProblem):
                yield item
            elif item.findings or item.fields is None:
                yield Entry(file.name, item.line, None, item.findings)
            else:
                names = [name for name in _OF_TWO_MODELS if name in item.fields] or ["conversation"]
                for name in names:
                    yield from self.requests(file.name, item.line, turns_of(item.fields, name), name)
