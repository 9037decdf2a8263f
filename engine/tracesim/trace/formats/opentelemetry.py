"""OpenTelemetry spans with `gen_ai.*` attributes, as OTLP JSON: one export per line."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import orjson

from tracesim.trace.formats.chat_text import call_text, message_text
from tracesim.trace.formats.interface import Entry
from tracesim.trace.formats.logged_calls import LoggedCalls, text_or_lengths
from tracesim.trace.formats.openai_api import Answer, Usage
from tracesim.trace.problems import Finding, describe, quote
from tracesim.trace.schema import Fields

_GENERATING = ("chat", "text_completion", "generate_content")
_INPUT_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
_OUTPUT_TOKENS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
_INDEXED = re.compile(r"gen_ai\.(prompt|completion)\.(\d{1,6})\.(role|content|reasoning)")
_INDEXED_CALL = re.compile(r"gen_ai\.(prompt|completion)\.(\d{1,6})\.tool_calls\.(\d{1,6})\.(name|arguments)")
_MESSAGES = {"prompt": "gen_ai.input.messages", "completion": "gen_ai.output.messages"}
_FAILED = (2, "STATUS_CODE_ERROR")


class OpenTelemetry(LoggedCalls):
    """Each span in which a model generated text is a record, whose id is its `spanId`.

    Its texts are replayed if the span has the messages, and else the numbers of tokens. Spans with one
    `gen_ai.conversation.id`, or of one trace, are a session. Spans of agents and tools are no requests.
    """

    field_names: ClassVar = {
        "prompt": "gen_ai.input.messages",
        "response": "gen_ai.output.messages",
        "input_length": _INPUT_TOKENS[0],
        "output_length": _OUTPUT_TOKENS[0],
        "id": "spanId",
    }

    def keep_calls(self, file: str, line: int, fields: dict[str, Any]) -> None:
        """Keep an entry for each call of a model in an export."""
        for span in _spans(fields):
            self._keep_span(file, line, span)

    def _keep_span(self, file: str, line: int, span: dict[str, Any]) -> None:
        attributes = _attributes(span.get("attributes"))
        operation = attributes.get("gen_ai.operation.name")
        if operation is None:
            is_generating = any(name in attributes for name in (*_INPUT_TOKENS, *_MESSAGES.values()))
        else:
            is_generating = operation in _GENERATING
        if operation == "embeddings":
            message = 'is "embeddings", which generates no text; the span is skipped'
            finding = Finding("other-request", "gen_ai.operation.name", message)
            self.keep(Entry(file, line, None, [finding]), None)
        if not is_generating:
            return
        status = span.get("status")
        if isinstance(status, dict) and status.get("code") in _FAILED:
            error = attributes.get("error.type") or status.get("message") or "an error"
            message = f"is {quote(str(error))}: the request failed, and is skipped"
            self.keep(Entry(file, line, None, [Finding("failed-request", "status", message)]), None)
            return
        fields, findings = _fields(attributes)
        if isinstance(span.get("spanId"), str):
            fields["id"] = span["spanId"]
        times = [_integer(span.get(name)) for name in ("startTimeUnixNano", "endTimeUnixNano")]
        if times[0] is None:
            message = f"is {describe(span.get('startTimeUnixNano'))}; must be nanoseconds since 1970"
            findings = [*findings, Finding("bad-value", "startTimeUnixNano", message)]
        session = attributes.get("gen_ai.conversation.id") or span.get("traceId")
        self.keep_call(Entry(file, line, fields, findings), session, *times)


def _spans(export: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the spans of an export."""
    for resource in _objects(export.get("resourceSpans")):
        for scope in _objects(resource.get("scopeSpans")):
            yield from _objects(scope.get("spans"))


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _attributes(pairs: Any) -> dict[str, Any]:
    """Return attributes by their keys."""
    known = [pair for pair in _objects(pairs) if isinstance(pair.get("key"), str)]
    return {pair["key"]: _value(pair.get("value")) for pair in known}


def _value(value: Any) -> Any:
    """Return the value of an attribute, which OTLP wraps in an object that names its type."""
    kind, content = next(iter(value.items()), ("", None)) if isinstance(value, dict) else ("", None)
    if kind == "intValue":
        return _integer(content)
    if kind == "arrayValue" and isinstance(content, dict):
        return [_value(each) for each in _objects(content.get("values"))]
    if kind == "kvlistValue" and isinstance(content, dict):
        return _attributes(content.get("values"))
    return content


def _integer(value: Any) -> int | None:
    """Return an integer, which JSON of OTLP has as a string because it may have 64 bits."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return value if type(value) is int else None


def _fields(attributes: dict[str, Any]) -> tuple[Fields, list[Finding]]:
    """Return what a call read and wrote, and what is wrong with it."""
    sent = _texts(attributes, "prompt")
    instructions = _decoded(attributes.get("gen_ai.system_instructions"))
    if sent and isinstance(instructions, list):
        sent = [_parts_text({"parts": instructions}), *sent]
    prompt: Fields = {"prompt": "\n".join(map(str, sent))} if sent and None not in sent else {}
    answers = _texts(attributes, "completion")
    answer = Answer(answers[0] if answers else None, False, [])
    if len(answers) > 1:
        message = f"has {len(answers)} messages; the first is replayed, and the others are skipped"
        answer = answer._replace(findings=[Finding("other-choices", _MESSAGES["completion"], message)])
    input_tokens, output_tokens = _count(attributes, _INPUT_TOKENS), _count(attributes, _OUTPUT_TOKENS)
    return text_or_lengths(prompt, answer, Usage(input_tokens, output_tokens, 0))


def _count(attributes: dict[str, Any], names: Sequence[str]) -> int | None:
    """Return the first number of tokens under one of these names."""
    return next((attributes[name] for name in names if type(attributes.get(name)) is int), None)


def _texts(attributes: dict[str, Any], side: str) -> list[str | None]:
    """Return the text of each message of one side, None for one that has other things than text."""
    messages = _decoded(attributes.get(_MESSAGES[side]))
    if isinstance(messages, list):
        return [_parts_text(message) for message in messages]
    indexed: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    calls: defaultdict[int, defaultdict[int, dict[str, Any]]] = defaultdict(lambda: defaultdict(dict))
    for key, value in attributes.items():
        if (match := _INDEXED.fullmatch(key)) and match[1] == side:
            indexed[int(match[2])][match[3]] = value
        elif (match := _INDEXED_CALL.fullmatch(key)) and match[1] == side:
            calls[int(match[2])][int(match[3])][match[4]] = value
    for at, by_number in calls.items():
        indexed[at]["tool_calls"] = [by_number[number] for number in sorted(by_number)]
    return [_parts_text(indexed[at]) for at in sorted(indexed)]


def _decoded(value: Any) -> Any:
    """Return a structured value, which may be recorded as JSON in a string."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None


def _parts_text(message: Any) -> str | None:
    """Return the text of a message, None if it has other things than text."""
    parts = message.get("parts") if isinstance(message, dict) else None
    if not isinstance(parts, list):
        found = message_text(message)
        return found if isinstance(found, str) else None
    texts = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "tool_call":
            texts.append(call_text(part))
            continue
        names = ("response", "result") if kind == "tool_call_response" else ("content",)
        text = next((part[name] for name in names if name in part), None) if kind else None
        if kind == "tool_call_response" and not isinstance(text, str):
            text = orjson.dumps(text).decode()
        if not isinstance(text, str):
            return None
        texts.append(text)
    return "\n".join(texts)
