"""The text of chat messages: content, and the reasoning, refusals and tool calls that a model writes, too."""

from __future__ import annotations

import json
from typing import Any

from tracesim.trace.problems import describe, quote
from tracesim.trace.schema import Fault

_REASONING = ("reasoning_content", "reasoning", "thinking")
_TEXTS = ("content", *_REASONING, "refusal", "tool_calls", "function_call")
_PART_TEXTS = ("text", "refusal", "thinking")
_TOOL_PARTS = ("tool_use", "tool_result")


def message_text(message: Any) -> str | Fault:
    """Return all text of a message, or what is wrong with it.

    Reasoning, content, a refusal and tool calls follow in this order, with line feeds between them. A tool
    call is written as a JSON object with its name and its arguments.
    """
    if not isinstance(message, dict):
        return "wrong-type", f"is {describe(message)}; must be an object"
    if not any(name in message for name in _TEXTS):
        return "missing-field", "has no content; only text can be replayed"
    content = content_text(message.get("content"))
    if not isinstance(content, str):
        return content
    calls = message.get("tool_calls")
    calls = calls if isinstance(calls, list) else []
    calls = [*calls, message["function_call"]] if message.get("function_call") else calls
    texts = [reasoning_of(message), content, message.get("refusal"), *map(call_text, calls)]
    return "\n".join([text for text in texts if isinstance(text, str) and text])


def reasoning_of(message: dict[str, Any]) -> str:
    """Return the reasoning in a message, "" if it has none."""
    given = [message.get(name) for name in _REASONING]
    return next((text for text in given if isinstance(text, str) and text), "")


def content_text(content: Any) -> str | Fault:
    """Return the text of a content, which is a string, a list of parts, or null; or what is wrong with it.

    A call of a tool among the parts, or its result, is a line of its own.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return "wrong-type", f"has content that is {describe(content)}; must be a string or a list of parts"
    lines = [""]
    for part in content:
        text = _part_text(part)
        if not isinstance(text, str):
            return text
        if isinstance(part, dict) and part.get("type") in _TOOL_PARTS:
            lines += [text, ""]
        else:
            lines[-1] += text
    return "\n".join([line for line in lines if line])


def _part_text(part: Any) -> str | Fault:
    """Return the text of a part of a content, or what is wrong with it."""
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "tool_use":
        return call_text(part)
    if kind == "tool_result":
        return content_text(part.get("content"))
    given = [part[name] for name in _PART_TEXTS if name in part] if isinstance(part, dict) else []
    if given and isinstance(given[0], str):
        return given[0]
    found = f"of type {quote(kind)}" if isinstance(kind, str) else f"that is {describe(part)}"
    return "not-text", f"has a part {found}; only text can be replayed"


def call_text(call: Any) -> str:
    """Return a tool call as a JSON object with `name` and `arguments`, as chat templates write it."""
    if not isinstance(call, dict):
        return json.dumps(call, ensure_ascii=False)
    function = next((call[name] for name in ("function", "custom") if isinstance(call.get(name), dict)), call)
    arguments = function.get("arguments", function.get("input"))
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    name = json.dumps(function.get("name"), ensure_ascii=False)
    return f'{{"name": {name}, "arguments": {arguments}}}'
