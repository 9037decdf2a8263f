"""The order that `after` asks for: every id in it exists, and no request waits for itself."""

from __future__ import annotations

from collections.abc import Iterator

from tracesim.errors import TraceProblem
from tracesim.trace.ids import RecordIds
from tracesim.trace.problems import problem, quote
from tracesim.trace.record import TraceRecord


class AfterLinks:
    """Collects the `after` of each record, to check them all when the whole trace has been read."""

    def __init__(self) -> None:
        self._records: dict[str, TraceRecord] = {}

    def add(self, record: TraceRecord) -> None:
        """Remember a record that has `after`."""
        self._records[record.id] = record

    def problems(self, ids: RecordIds, field: str) -> Iterator[TraceProblem]:
        """Yield a problem for each unknown id, and one for each cycle; `field` is the name of the field."""
        for record in self._records.values():
            for unknown in dict.fromkeys(each for each in record.after or () if each not in ids):
                message = f"{quote(unknown)} is the id of no record; name the ids of records of this trace"
                yield problem("unknown-after", record.file, record.line, field, message)
        for record in self._first_of_cycles():
            message = f"{quote(record.id)} waits for itself; remove one of the ids that lead back to it"
            yield problem("after-cycle", record.file, record.line, field, message)

    def _first_of_cycles(self) -> Iterator[TraceRecord]:
        """Yield one record of each cycle, by a depth-first search without recursion."""
        finished: set[str] = set()
        for start in self._records:
            path: dict[str, Iterator[str]] = {}
            stack = [start]
            while stack:
                current = stack[-1]
                if current in finished:
                    stack.pop()
                    continue
                if current not in path:
                    links = self._records[current].after or ()
                    path[current] = iter([each for each in links if each in self._records])
                following = next(path[current], None)
                if following is None:
                    finished.add(current)
                    del path[current]
                    stack.pop()
                elif following in path:
                    yield self._records[following]
                elif following not in finished:
                    stack.append(following)
