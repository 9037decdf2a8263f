"""The text of a request to OpenAI's API, and of the answer to it."""

from __future__ import annotations

from typing import Any

from tracesim.trace.problems import Finding, describe

Read = tuple[str | None, list[Finding]]


def prompt_of(body: Any) -> Read:
    """Return the prompt of a chat or a completion: its messages, a line feed between them, or its `prompt`.

    Only text can be replayed; anything else is a finding.
    """
    if not isinstance(body, dict):
        return None, [Finding("wrong-type", "body", f"is {describe(body)}; must be an object")]
    if "messages" not in body:
        return _string(body.get("prompt"), "body.prompt", "give prompt or messages")
    messages = body["messages"]
    if not isinstance(messages, list):
        message = f"is {describe(messages)}; must be a list of messages"
        return None, [Finding("wrong-type", "body.messages", message)]
    texts: list[str] = []
    for at, message in enumerate(messages, 1):
        text, findings = _content(message, at)
        if text is None:
            return None, findings
        texts.append(text)
    return "\n".join(texts), []


def response_of(body: Any) -> Read:
    """Return the text of the first choice."""
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        reason = "has no choices; only chat completions and completions can be replayed"
        return None, [Finding("missing-field", "response.body", reason)]
    first = choices[0]
    message = first.get("message")
    value = message.get("content") if isinstance(message, dict) else first.get("text")
    field = "content" if isinstance(message, dict) else "text"
    text, findings = _string(value, f"response.body.choices.{field}", "only text can be replayed")
    if text is not None and len(choices) > 1:
        reason = f"has {len(choices)} items; the first is replayed, and the others are skipped"
        findings = [Finding("other-choices", "response.body.choices", reason)]
    return text, findings


def _content(message: Any, at: int) -> Read:
    """Return the text of a message: a string, or a list of parts of text."""
    field = "body.messages"
    if not isinstance(message, dict):
        return None, [Finding("wrong-type", field, f"item {at} is {describe(message)}; must be an object")]
    content = message.get("content")
    if content is None and message.get("tool_calls"):
        reason = f"item {at} calls tools instead of having content; only text can be replayed"
        return None, [Finding("wrong-type", field, reason)]
    if not isinstance(content, list):
        return _string(content, field, "only text can be replayed", f"item {at} has content that ")
    parts = [part.get("text") if isinstance(part, dict) else part for part in content]
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) == len(parts):
        return "".join(texts), []
    reason = f"item {at} has a part that is not text; only text can be replayed"
    return None, [Finding("wrong-type", field, reason)]


def _string(value: Any, field: str, advice: str, place: str = "") -> Read:
    if isinstance(value, str):
        return value, []
    if value is None and not place:
        return None, [Finding("missing-field", field, f"is missing; {advice}")]
    return None, [Finding("wrong-type", field, f"{place}is {describe(value)}; must be a string: {advice}")]
