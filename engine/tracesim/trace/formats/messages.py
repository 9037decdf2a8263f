"""Lines of `messages` with `role` and `content`, or of `prompt` and `completion`, as fine-tuning data has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from tracesim.trace.formats.chat_text import message_text
from tracesim.trace.formats.conversations import Conversations, Turn
from tracesim.trace.problems import Finding, absent_or_wrong, describe

_ANSWERING = frozenset(["assistant", "model"])


class Messages(Conversations):
    """Each message of the assistant is a request, with its reasoning and tool calls."""

    field_names: ClassVar = {"prompt": "messages", "response": "content"}

    def conversations(self, fields: dict[str, Any]) -> Iterable[tuple[str, Iterable[Turn | Finding]]]:
        """Return the one conversation: the messages, or the prompt and its completion."""
        if "messages" not in fields and "completion" in fields:
            prompt = as_messages(fields.get("prompt"), "user")
            fields = {"messages": [*prompt, *as_messages(fields["completion"], "assistant")]}
        return [("messages", turns_of(fields, "messages"))]


def as_messages(value: Any, role: str) -> list[Any]:
    """Return a list of messages, which may be given as one string."""
    return value if isinstance(value, list) else [{"role": role, "content": value}]


def turns_of(fields: dict[str, Any], name: str) -> Iterator[Turn | Finding]:
    """Yield the turns of the conversation in a field, or what is wrong with it."""
    messages = fields.get(name)
    if not isinstance(messages, list):
        yield absent_or_wrong(name, messages, "a list of messages with role and content")
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
