"""Lines of `messages` with `role` and `content`, or of `prompt` and `completion`, as fine-tuning data has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.chat_text import message_text
from tracesim.trace.formats.conversations import Conversations, Turn
from tracesim.trace.formats.interface import Entry
from tracesim.trace.formats.json_objects import json_objects
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, describe

_ANSWERING = frozenset(["assistant", "model"])


class Messages(Conversations):
    """Each message of the assistant is a request, with its reasoning and tool calls."""

    field_names: ClassVar = {"prompt": "messages", "response": "content"}

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Yield an entry for each message of the assistant; its line is that of the conversation."""
        for item in json_objects(file):
            if isinstance(item, TraceProblem):
                yield item
            elif item.findings or item.fields is None:
                yield Entry(file.name, item.line, None, item.findings)
            else:
                fields = item.fields
                if "messages" not in fields and "completion" in fields:
                    prompt = as_messages(fields.get("prompt"), "user")
                    fields = {"messages": [*prompt, *as_messages(fields["completion"], "assistant")]}
                yield from self.requests(file.name, item.line, turns_of(fields, "messages"), "messages")


def as_messages(value: Any, role: str) -> list[Any]:
    """Return a list of messages, which may be given as one string."""
    return value if isinstance(value, list) else [{"role": role, "content": value}]


def turns_of(fields: dict[str, Any], name: str) -> Iterator[Turn | Finding]:
    """Yield the turns of the conversation in a field, or what is wrong with it."""
    messages = fields.get(name)
    if not isinstance(messages, list):
        found = "is missing" if messages is None else f"is {describe(messages)}"
        code = "missing-field" if messages is None else "wrong-type"
        yield Finding(code, name, f"{found}; must be a list of messages with role and content")
        return
    for at, message in enumerate(messages, 1):
        text = message_text(message)
        if not isinstance(text, str):
            yield Finding(text[0], name, f"item {at} {text[1]}")
        elif not isinstance(message.get("role"), str):
            found = "has no role" if "role" not in message else f"has role {describe(message['role'])}"
            yield Finding(
                "wrong-type", name, f"item {at} {found}; must be a string such as user or assistant"
            )
        else:
            yield Turn(message["role"] in _ANSWERING, text)
