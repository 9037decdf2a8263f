"""ShareGPT's JSON: an array of `conversations`, whose turns have `from` and `value`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.interface import Entry
from tracesim.trace.formats.json_items import json_items
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, describe, quote

_ANSWERING = frozenset(["gpt", "chatgpt", "assistant", "model", "bing", "bard", "function_call"])
_ASKING = frozenset(["human", "user", "system", "tool", "observation", "function_response"])


class ShareGPT:
    """Each turn of the assistant is a request, whose prompt is all before it, a line feed between turns.

    So the prompt of a later turn begins with that of an earlier one and its response.
    """

    waits_for_all: ClassVar = False
    field_names: ClassVar = {"prompt": "conversations", "response": "value"}

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """An entry for each turn of the assistant; their line is the number of the conversation."""
        number = 0
        for item in json_items(file):
            if isinstance(item, TraceProblem):
                yield item
                continue
            number += 1
            fields, findings = item
            if findings or fields is None:
                yield Entry(file.name, number, None, findings)
            else:
                yield from _requests(file.name, number, fields.get("conversations"))

    def finish(self) -> Iterator[Entry]:
        """Nothing."""
        return iter(())


def _requests(file: str, number: int, turns: Any) -> Iterator[Entry]:
    if not isinstance(turns, list):
        found = "is missing" if turns is None else f"is {describe(turns)}"
        code = "missing-field" if turns is None else "wrong-type"
        say = f"{found}; must be a list of turns with from and value"
        yield Entry(file, number, None, [Finding(code, "conversations", say)])
        return
    said: list[str] = []
    num_requests = 0
    for at, turn in enumerate(turns, 1):
        findings = list(_faults(turn, at))
        if findings:  # every later prompt would have it in it
            yield Entry(file, number, None, findings)
            return
        if turn["from"] in _ANSWERING:
            num_requests += 1
            prompt = "\n".join(said)
            findings = [] if prompt else [_nothing_asked(at)]
            fields = {"prompt": prompt, "response": turn["value"]} if prompt else None
            yield Entry(file, number, fields, findings)
        said.append(turn["value"])
    if not num_requests:
        say = "has no turn of the assistant, and so no request"
        yield Entry(file, number, None, [Finding("no-request", "conversations", say)])


def _faults(turn: Any, at: int) -> Iterator[Finding]:
    if not isinstance(turn, dict):
        say = f"turn {at} is {describe(turn)}; must be an object with from and value"
        yield Finding("wrong-type", "conversations", say)
        return
    for name in ("from", "value"):
        if name not in turn:
            yield Finding("missing-field", name, f"is missing in turn {at}")
        elif not isinstance(turn[name], str):
            yield Finding("wrong-type", name, f"of turn {at} is {describe(turn[name])}; must be a string")
    who = turn.get("from")
    if isinstance(who, str) and who not in _ANSWERING and who not in _ASKING:
        say = f"of turn {at} is {quote(who)}; must be one of {', '.join(sorted(_ASKING | _ANSWERING))}"
        yield Finding("bad-value", "from", say)


def _nothing_asked(at: int) -> Finding:
    return Finding("empty-prompt", "conversations", f"turn {at} answers an empty prompt; must follow another")
