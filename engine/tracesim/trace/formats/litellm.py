"""LiteLLM's logging payload: one JSON object per call, with its messages, response, tokens and times."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from tracesim.trace.formats.interface import Entry
from tracesim.trace.formats.logged_calls import LoggedCalls, text_or_lengths
from tracesim.trace.formats.openai_api import Answer, Usage, answer_of, prompt_of, usage_of
from tracesim.trace.formats.times import nanoseconds
from tracesim.trace.problems import Finding, describe, quote
from tracesim.trace.schema import Fields, seconds_of_finer_unit

_GENERATING = ("completion", "responses", "messages", "generate_content")
_REDACTED = "redacted-by-litellm"


class LiteLLM(LoggedCalls):
    """Each call that generated text is a record: its texts, or its numbers of tokens if these are redacted.

    Calls with one `session_id`, or with one `trace_id`, are a session. Calls that failed, that generate no
    text, or that LiteLLM's cache has answered are skipped with a warning.
    """

    field_names: ClassVar = {
        "prompt": "messages",
        "input_length": "prompt_tokens",
        "output_length": "completion_tokens",
        "arrival_time": "startTime",
    }

    def keep_calls(self, file: str, line: int, fields: dict[str, Any]) -> None:
        """Keep an entry for the one call of a payload."""
        if skipped := _reason_to_skip(fields):
            self.keep(Entry(file, line, None, [skipped]), None)
            return
        found, findings = _fields(fields)
        start, end = _time(fields.get("startTime")), _time(fields.get("endTime"))
        if start is None and fields.get("startTime") is not None:
            message = f"is {describe(fields['startTime'])}; must be seconds since 1970 or a time"
            findings = [*findings, Finding("bad-value", "startTime", message)]
        if isinstance(fields.get("id"), str):
            found["id"] = fields["id"]
        metadata = fields.get("metadata")
        known = [fields.get("session_id"), metadata.get("session_id") if isinstance(metadata, dict) else 0]
        session = next((each for each in known if each), fields.get("trace_id"))
        self.keep_call(Entry(file, line, found, findings), session, start, end)


def _reason_to_skip(payload: dict[str, Any]) -> Finding | None:
    """Return why a call is not a request to replay, if it is not."""
    kind = payload.get("call_type")
    if payload.get("status") == "failure" or payload.get("error_str"):
        error = payload.get("error_str")
        reason = quote(error) if isinstance(error, str) else "failure"
        return Finding("failed-request", "status", f"is {reason}: the request failed, and is skipped")
    if isinstance(kind, str) and kind and not any(name in kind for name in _GENERATING):
        message = f"is {quote(kind)}, which generates no text; the call is skipped"
        return Finding("other-request", "call_type", message)
    if payload.get("cache_hit") is True:
        message = "is true: the call never reached a model, and is skipped"
        return Finding("other-request", "cache_hit", message)
    return None


def _fields(payload: dict[str, Any]) -> tuple[Fields, list[Finding]]:
    """Return what a call read and wrote, and what is wrong with it."""
    messages, response = payload.get("messages"), payload.get("response")
    if isinstance(messages, str):
        prompt: Fields = {"prompt": messages}
    else:
        prompt, _ = prompt_of(messages if isinstance(messages, dict) else {"messages": messages})
    answer = Answer(response, False, []) if isinstance(response, str) else answer_of(response)
    if _REDACTED in f"{prompt.get('prompt')} {answer.text}":
        prompt = {}
    counts = [payload.get(name) for name in ("prompt_tokens", "completion_tokens")]
    input_tokens, output_tokens = (count if type(count) is int else None for count in counts)
    usage = Usage(input_tokens, output_tokens, usage_of(response).reasoning_tokens)
    return text_or_lengths(prompt, answer, usage)


def _time(value: Any) -> int | None:
    """Return a time in nanoseconds since 1970, from seconds or from text; None if it is none."""
    if isinstance(value, str):
        return nanoseconds(value)
    value = seconds_of_finer_unit(value) or value
    is_number = type(value) in (int, float) and 0 <= value < math.inf
    return round(value * 10**6) * 1000 if is_number else None  # a float is exact to microseconds
