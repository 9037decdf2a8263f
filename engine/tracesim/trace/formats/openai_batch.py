"""OpenAI's batch files: one of requests and one or more of responses, joined on `custom_id`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from tracesim.errors import TraceProblem
from tracesim.trace.formats.interface import Entry
from tracesim.trace.formats.json_objects import json_objects
from tracesim.trace.formats.openai_api import (
    answer_of,
    hidden_prompt_tokens,
    hidden_tokens,
    hidden_tokens_message,
    prompt_of,
    usage_of,
)
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, absent_or_wrong, describe, problem, quote

_ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/responses")


class _Line(NamedTuple):
    """A request or a response, and its place."""

    file: str
    line: int
    fields: dict[str, Any]

    def problem(self, finding: Finding) -> TraceProblem:
        """Return a finding as a problem of this line."""
        return problem(finding.code, self.file, self.line, finding.field, finding.message)


class OpenAIBatch:
    """Each line is a request or a response, whichever file it is in; entries are in the requests' order.

    The id of a record is its `custom_id`. A request that failed, or that has no response, is skipped. Limits
    and stop strings of a request are ignored: the response was already cut by them. Where `usage` shows that
    some of the text is not recorded, the numbers of tokens are replayed instead of the text.
    """

    waits_for_all: ClassVar = True
    field_names: ClassVar = {"id": "custom_id", "prompt": "body", "response": "response"}

    def __init__(self) -> None:
        self._requests: dict[str, _Line] = {}
        self._responses: dict[str, _Line] = {}

    @property
    def num_kept(self) -> int:
        """Return how many requests and responses were read."""
        return len(self._requests) + len(self._responses)

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Yield what is wrong with the lines; the entries wait for the other file."""
        for item in json_objects(file):
            if isinstance(item, TraceProblem):
                yield item
                continue
            line = _Line(file.name, item.line, item.fields or {})
            findings = item.findings or list(self._keep(line))
            yield from map(line.problem, findings)

    def finish(self) -> Iterator[Entry | TraceProblem]:
        """Yield an entry for each request, and a problem for each response without a request."""
        if bool(self._requests) != bool(self._responses):
            kept, other = ("requests", "responses") if self._requests else ("responses", "requests")
            first = next(iter([*self._requests.values(), *self._responses.values()]))
            message = f"has only {kept}; give the file of the {other}, too"
            yield problem("unmatched", first.file, None, None, message)
            return
        for custom_id, request in self._requests.items():
            response = self._responses.pop(custom_id, None)
            if response is None:
                found = f"{quote(custom_id)} has no response, and is skipped"
                message = f"{found}; if it failed, the batch's error file has the reason"
                findings = [Finding("no-response", "custom_id", message)]
                yield Entry(request.file, request.line, None, findings)
            else:
                yield from _join(request, response)
        for custom_id, response in self._responses.items():
            message = f"{quote(custom_id)} is the custom_id of no request"
            yield problem("unmatched", response.file, response.line, "custom_id", message)

    def _keep(self, line: _Line) -> Iterator[Finding]:
        custom_id = line.fields.get("custom_id")
        kind, kept = ("request", self._requests) if "body" in line.fields else ("response", self._responses)
        if not isinstance(custom_id, str) or not custom_id:
            yield absent_or_wrong("custom_id", custom_id, "a string with at least one character")
        elif not line.fields.keys() & {"body", "response", "error"}:
            message = "is missing; a request has `body`, and a response has `response`"
            yield Finding("missing-field", "body", message)
        elif first := kept.get(custom_id):
            where = f"line {first.line}" if first.file == line.file else f"line {first.line} of {first.file}"
            message = f"{quote(custom_id)} is already the custom_id of the {kind} in {where}"
            yield Finding("duplicate-id", "custom_id", message)
        else:
            kept[custom_id] = line


def _join(request: _Line, response: _Line) -> Iterator[Entry | TraceProblem]:
    """Yield the entry of a request, after the problems of its response at the place of the response."""
    body = request.fields["body"]
    url = request.fields.get("url")
    skipped = Entry(request.file, request.line, None)
    if isinstance(url, str) and not url.endswith(_ENDPOINTS):
        message = f"is {quote(url)}; only requests to {', '.join(_ENDPOINTS)} can be replayed"
        yield skipped._replace(findings=[Finding("unsupported-request", "url", message)])
        return
    if failure := _failure(response.fields):
        yield response.problem(failure)
        yield skipped
        return
    answer_body = response.fields["response"].get("body")
    answer, usage = answer_of(answer_body), usage_of(answer_body)
    prompt, findings = prompt_of(body)
    yield from map(response.problem, answer.findings)
    lengths = usage.lengths
    lacks_text = bool(lengths) and any(finding.code == "not-text" for finding in findings)
    if answer.text is None or not (prompt or lacks_text):
        yield skipped._replace(findings=findings)
        return
    fields = {"id": request.fields["custom_id"], **prompt, "response": answer.text}
    hidden = hidden_tokens(usage, answer) or hidden_prompt_tokens(usage, prompt)
    if lacks_text:
        hidden, findings = "counts prompt tokens that are not text", []
    if body.get("previous_response_id") or body.get("conversation"):
        hidden = "counts the messages of earlier responses, too, which are not in the request"
    if hidden and lengths:
        fields = {"id": fields["id"], **lengths}
    if hidden:
        message = hidden_tokens_message(hidden, lengths)
        yield response.problem(Finding("hidden-tokens", "response.body.usage", message))
    yield Entry(request.file, request.line, fields, findings)


def _failure(fields: dict[str, Any]) -> Finding | None:
    """Return a finding if the request failed."""
    response, error = fields.get("response"), fields.get("error")
    status = response.get("status_code", 200) if isinstance(response, dict) else None
    body = response.get("body") if isinstance(response, dict) else None
    error = error or (body.get("error") if isinstance(body, dict) else None)
    if status == 200 and not error:
        return None
    text = error.get("message") or error.get("code") if isinstance(error, dict) else error
    reason = quote(text) if isinstance(text, str) else f"status {describe(status)}"
    return Finding("failed-request", "error", f"is {reason}: the request failed, and is skipped")
