"""Lines of `messages` with `role` and `content`, or of `prompt` and `completion`, as fine-tuning data has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from tracesim.trace.formats.chat_text import message_text
from tracesim.trace.formats.conversations import ANSWERING, Conversations, Turn
from tracesim.trace.formats.openai_api import answer_of
from tracesim.trace.problems import Finding, absent_or_wrong, describe


class Messages(Conversations):
    """Each message of the assistant is a request, with its reasoning and tool calls."""

    field_names: ClassVar = {"prompt": "messages", "response": "content"}

    def conversations(self, fields: dict[str, Any]) -> Iterable[tuple[str, Iterable[Turn | Finding]]]:
        """Return the one conversation: the messages, or the prompt and its completion."""
        answer = next((fields[name] for name in ("completion", "response") if fields.get(name)), None)
        messages = fields.get("messages")
        if messages is None and answer is not None:
            messages = as_messages(fields.get("prompt"), "user")
        if isinstance(messages, list) and answer is not None and not _is_answered(messages):
            fields = {"messages": [*messages, *as_messages(answer, "assistant")]}
        return [("messages", turns_of(fields, "messages"))]


def _is_answered(messages: list[Any]) -> bool:
    """Whether the last of the messages is an answer."""
    return bool(messages) and str(_role_of(messages[-1])).lower() in ANSWERING


def as_messages(value: Any, role: str) -> list[Any]:
    """Return a list of messages, which may be given as one message, its text, or the answer of an API."""
    if isinstance(value, dict):
        answer = answer_of(value)
        return [value if answer.text is None else {"role": role, "content": answer.text}]
    return value if isinstance(value, list) else [{"role": role, "content": value}]


def turns_of(fields: dict[str, Any], name: str) -> Iterator[Turn | Finding]:
    """Yield the turns of the conversation in a field, or what is wrong with it."""
    messages = fields.get(name)
    if not isinstance(messages, list):
        yield absent_or_wrong(name, messages, "a list of messages with role and content")
        return
    for at, message in enumerate(messages, 1):
        yield turn_of(message, at, name)


def turn_of(message: Any, at: int, field: str) -> Turn | Finding:
    """Return message `at` of a conversation as a turn, or what is wrong with it."""
    if isinstance(message, dict) and "value" in message and "content" not in message:
        message = {"role": message.get("from"), "content": message["value"], **message}
    text, role = message_text(message), _role_of(message)
    if not isinstance(text, str):
        return Finding(text[0], field, f"item {at} {text[1]}")
    if not isinstance(role, str):
        found = "has no role" if role is None else f"has role {describe(role)}"
        message = f"item {at} {found}; must be a string such as user or assistant"
        return Finding("wrong-type", field, message)
    return Turn(role.lower() in ANSWERING, text)


def _role_of(message: Any) -> Any:
    return message.get("role") if isinstance(message, dict) else None
