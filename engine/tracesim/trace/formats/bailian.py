"""The JSONL of Alibaba's Bailian traces: chats that follow one another, times in seconds, hash ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.interface import Entry, SeparateFiles, in_seconds
from tracesim.trace.formats.json_objects import json_objects
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, describe
from tracesim.trace.schema import seconds_of_finer_unit

HASH_BLOCK_SIZE = 16


class Bailian(SeparateFiles):
    """Lengths with `hash_ids`, one for each 16 prompt tokens; `timestamp` is in seconds.

    A chat follows its `parent_chat_id` and is in the same session, if the parent was read before it. The
    dataset has parents that are not in it, and -1 for no parent. It does not have the times at which answers
    were complete, so `delay` is the time between the two chats: the parent's own time and the user's.
    """

    field_names: ClassVar = {"id": "chat_id", "after": "parent_chat_id", "arrival_time": "timestamp"}

    def __init__(self) -> None:
        self._session_of: dict[str, str] = {}
        self._time_of: dict[str | None, float] = {}

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Yield an entry for each line."""
        for item in json_objects(file):
            if isinstance(item, TraceProblem):
                yield item
                continue
            line, fields, findings = item
            if fields is not None:
                findings += self._rename(fields)
            yield Entry(file.name, line, fields, findings)

    def _rename(self, fields: dict[str, Any]) -> Iterator[Finding]:
        """Give the fields the names of a trace record; yield what is wrong with them."""
        chat_id, parent_id = fields.pop("chat_id", None), fields.pop("parent_chat_id", None)
        if type(chat_id) in (int, str):
            fields["id"] = chat = str(chat_id)
            session = self._session_of.get(str(parent_id))
            if session is not None:
                fields["after"] = str(parent_id)
            fields["session_id"] = self._session_of[chat] = session or chat
        elif chat_id is not None:
            yield Finding("wrong-type", "id", f"is {describe(chat_id)}; must be an integer or a string")
        time = fields.pop("timestamp", None)
        if time is not None:
            seconds = in_seconds(time, "seconds")
            if isinstance(seconds, float):
                fields["arrival_time"] = seconds
                seconds = seconds_of_finer_unit(seconds) or seconds
                if "id" in fields:
                    self._time_of[fields["id"]] = seconds
                if (sent := self._time_of.get(fields.get("after"))) is not None:
                    fields["delay"] = max(0.0, round(seconds - sent, 6))
            else:
                yield Finding(seconds[0], "arrival_time", seconds[1])
        if fields.get("hash_ids") is not None:
            fields.setdefault("hash_block_size", HASH_BLOCK_SIZE)
