"""OpenAI's batch files: one of requests and one of responses, joined on `custom_id`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from tracesim.errors import TraceProblem
from tracesim.trace.formats.chat_text import prompt_of, response_of
from tracesim.trace.formats.interface import Entry
from tracesim.trace.formats.json_objects import json_objects
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, describe, problem, quote


class _Line(NamedTuple):
    """A request, or a response, and its place."""

    file: str
    line: int
    fields: dict[str, Any]


class OpenAIBatch:
    """Each line is a request or a response, whichever file it is in; entries are in the requests' order.

    The id of a record is its `custom_id`. A request that failed is skipped. Limits and stop strings of a
    request are ignored: the response was already cut by them.
    """

    waits_for_all: ClassVar = True
    field_names: ClassVar = {"id": "custom_id", "prompt": "body", "response": "response"}

    def __init__(self) -> None:
        self._requests: list[_Line] = []
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
            number, fields, findings = item
            line = _Line(file.name, number, fields or {})
            findings = findings or list(self._keep(line))
            for finding in findings:
                yield problem(finding.code, line.file, line.line, finding.field, finding.message)

    def finish(self) -> Iterator[Entry | TraceProblem]:
        """Yield an entry for each request with its response, and a problem for each without the other."""
        lines = [*self._requests, *self._responses.values()]
        if bool(self._requests) != bool(self._responses):
            kept, other = ("requests", "responses") if self._requests else ("responses", "requests")
            message = f"has only {kept}; give the file of the {other}, too"
            yield problem("unmatched", lines[0].file, None, None, message)
            return
        for request in self._requests:
            response = self._responses.pop(request.fields["custom_id"], None)
            yield _joined(request, response)
        for response in self._responses.values():
            message = f"{quote(response.fields['custom_id'])} is the custom_id of no request"
            yield problem("unmatched", response.file, response.line, "custom_id", message)

    def _keep(self, line: _Line) -> Iterator[Finding]:
        custom_id = line.fields.get("custom_id")
        if not isinstance(custom_id, str) or not custom_id:
            found = "is missing" if custom_id is None else f"is {describe(custom_id)}"
            code = "missing-field" if custom_id is None else "wrong-type"
            yield Finding(code, "custom_id", f"{found}; must be a string with at least one character")
        elif "body" in line.fields:
            self._requests.append(line)
        elif "response" not in line.fields:
            message = "is missing; a request has `body`, and a response has `response`"
            yield Finding("missing-field", "body", message)
        elif custom_id in self._responses:
            first = self._responses[custom_id].line
            message = f"{quote(custom_id)} is already the custom_id of the response in line {first}"
            yield Finding("duplicate-id", "custom_id", message)
        else:
            self._responses[custom_id] = line


def _joined(request: _Line, response: _Line | None) -> Entry:
    """Return the entry of a request, at the request's place."""
    custom_id = request.fields["custom_id"]
    if response is None:
        finding = Finding("unmatched", "custom_id", f"{quote(custom_id)} has no response")
        return Entry(request.file, request.line, None, [finding])
    if failure := _failure(response.fields):
        return Entry(request.file, request.line, None, [failure])
    prompt, findings = prompt_of(request.fields["body"])
    body = response.fields["response"].get("body")
    text, more = response_of(body)
    if prompt is None or text is None:
        return Entry(request.file, request.line, None, [*findings, *more])
    fields = {"id": custom_id, "prompt": prompt, "response": text}
    return Entry(request.file, request.line, fields, [*findings, *more])


def _failure(fields: dict[str, Any]) -> Finding | None:
    """Return a finding if the request failed."""
    response, error = fields["response"], fields.get("error")
    if isinstance(response, dict) and not error and response.get("status_code", 200) == 200:
        return None
    is_answered = isinstance(response, dict) and not error
    reason = f"status {describe(response['status_code'])}" if is_answered else _error_text(error)
    return Finding("failed-request", "error", f"is {reason}: the request failed, and is skipped")


def _error_text(error: Any) -> str:
    """Return the message of an error, or its code, quoted."""
    text = error.get("message") or error.get("code") if isinstance(error, dict) else error
    return quote(text) if isinstance(text, str) else describe(text)
