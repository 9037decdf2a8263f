"""ShareGPT's JSON: an array of `conversations`, whose turns have `from` and `value`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.interface import Entry, SeparateFiles
from tracesim.trace.formats.json_objects import json_objects
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, describe, quote

_ANSWERING = frozenset(["gpt", "chatgpt", "assistant", "model", "bing", "bard", "function_call"])
_ASKING = frozenset(["human", "user", "system", "tool", "observation", "function_response"])


class ShareGPT(SeparateFiles):
    """Each turn of the assistant is a request, whose prompt is all turns before it with line feeds between.

    So the prompt of a later turn begins with that of an earlier one and its response.
    """

    field_names: ClassVar = {"prompt": "conversations", "response": "value"}

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Yield an entry for each turn of the assistant; its line is the number of the conversation."""
        for item in json_objects(file):
            if isinstance(item, TraceProblem):
                yield item
                continue
            number, fields, findings = item
            if findings or fields is None:
                yield Entry(file.name, number, None, findings)
            else:
                yield from _requests(file.name, number, fields.get("conversations"))


def _requests(file: str, number: int, turns: Any) -> Iterator[Entry]:
    if not isinstance(turns, list):
        found = "is missing" if turns is None else f"is {describe(turns)}"
        code = "missing-field" if turns is None else "wrong-type"
        message = f"{found}; must be a list of turns with from and value"
        yield Entry(file, number, None, [Finding(code, "conversations", message)])
        return
    texts: list[str] = []
    num_requests = 0
    for at, turn in enumerate(turns, 1):
        findings = list(_faults(turn, at))
        if findings:  # it would be a part of every later prompt
            yield Entry(file, number, None, findings)
            return
        if turn["from"] in _ANSWERING:
            num_requests += 1
            prompt = "\n".join(texts)
            message = f"turn {at} answers an empty prompt; must follow another"
            findings = [] if prompt else [Finding("empty-prompt", "conversations", message)]
            fields = {"prompt": prompt, "response": turn["value"]} if prompt else None
            yield Entry(file, number, fields, findings)
        texts.append(turn["value"])
    if not num_requests:
        message = "has no turn of the assistant, and so no request"
        yield Entry(file, number, None, [Finding("no-request", "conversations", message)])


def _faults(turn: Any, at: int) -> Iterator[Finding]:
    if not isinstance(turn, dict):
        message = f"turn {at} is {describe(turn)}; must be an object with from and value"
        yield Finding("wrong-type", "conversations", message)
        return
    for name in ("from", "value"):
        if name not in turn:
            yield Finding("missing-field", name, f"is missing in turn {at}")
        elif not isinstance(turn[name], str):
            yield Finding("wrong-type", name, f"of turn {at} is {describe(turn[name])}; must be a string")
    speaker = turn.get("from")
    if isinstance(speaker, str) and speaker not in _ANSWERING and speaker not in _ASKING:
        accepted = ", ".join(sorted(_ASKING | _ANSWERING))
        yield Finding("bad-value", "from", f"of turn {at} is {quote(speaker)}; must be one of {accepted}")
