"""The ids of the records of a trace: given or by position, and unique over all its files."""

from __future__ import annotations

import re
from typing import Any

from tracesim.trace.places import Places
from tracesim.trace.problems import Finding, quote

_DEFAULT_ID = re.compile(r"r([1-9][0-9]{0,17})")


class RecordIds:
    """Gives every record its id and finds ids that are taken.

    A record without an id is called r1, r2, ... by its position among all records, invalid ones included.
    `has_default` has one entry for each record: whether its id is the default one.
    """

    def __init__(self, places: Places) -> None:
        self.has_default = bytearray()
        self._places = places
        self._place_of: dict[str, int] = {}

    def skip(self) -> None:
        """Count a record that has no id because nothing of it can be read."""
        self.has_default.append(False)

    def claim(self, given: Any) -> tuple[str, Finding | None]:
        """Return the id of the next record, and what is wrong with it; `given` is None for a default id."""
        self.has_default.append(given is None)
        if given is None:
            record_id = f"r{len(self.has_default)}"
            first = self._place_of.get(record_id) if self._place_of else None
            if first is None:
                return record_id, None
            where = self._places.describe(first)
            message = f"is missing, and {where} has the default {record_id}; give each record an id"
            return record_id, Finding("duplicate-id", "id", message)
        if type(given) is not str:
            return given, None
        place = self._places.lines_before + self._places.line
        first = self._place_of.setdefault(given, place)
        if first != place:
            message = (
                f"{quote(given)} is already the id of {self._places.describe(first)}; ids must be unique"
            )
            return given, Finding("duplicate-id", "id", message)
        default = _DEFAULT_ID.fullmatch(given)
        number = int(default[1]) if default else 0
        if 0 < number < len(self.has_default) and self.has_default[number - 1]:
            message = f"{given} is already the default id of record {number}; give every record an id"
            return given, Finding("duplicate-id", "id", message)
        return given, None

    def __contains__(self, record_id: str) -> bool:
        """Whether a record has this id, given or by default."""
        if record_id in self._place_of:
            return True
        default = _DEFAULT_ID.fullmatch(record_id)
        number = int(default[1]) if default else 0
        return 0 < number <= len(self.has_default) and bool(self.has_default[number - 1])
