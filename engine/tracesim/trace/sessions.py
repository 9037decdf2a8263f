"""The order that `after` and sessions ask for: every id exists, and no request waits for itself."""

from __future__ import annotations

from collections.abc import Iterator

from tracesim.errors import TraceProblem
from tracesim.trace.ids import RecordIds
from tracesim.trace.problems import problem, quote
from tracesim.trace.record import TraceRecord


class AfterLinks:
    """Collects what each record waits for, to check it all when the whole trace has been read.

    A turn of a session without `after` waits for the turn before. Such a link leads back in the trace, so a
    cycle has an `after` that leads forward, to a record that comes later, and the first record of the cycle
    has it. So turns are remembered only from the first such `after` on.
    """

    def __init__(self) -> None:
        self._records: dict[str, TraceRecord] = {}
        self._turn_before: dict[str, str] = {}
        self._last_turns: dict[str, str] = {}
        self._leads_forward = False

    def add(self, record: TraceRecord, ids: RecordIds) -> None:
        """Remember what a record waits for; `ids` has those of the records up to this one."""
        if record.after:
            self._records[record.id] = record
            self._leads_forward = self._leads_forward or any(each not in ids for each in record.after)
        if record.session_id is not None and self._leads_forward:
            before = self._last_turns.get(record.session_id)
            if record.after is None and before is not None:
                self._turn_before[record.id] = before
            self._last_turns[record.session_id] = record.id

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
                    path[current] = iter(self._links_of(current))
                following = next(path[current], None)
                if following is None:
                    finished.add(current)
                    del path[current]
                    stack.pop()
                elif following in path:
                    cycle = list(path)[list(path).index(following) :]
                    yield next(self._records[each] for each in cycle if each in self._records)
                elif following not in finished:
                    stack.append(following)

    def _links_of(self, record_id: str) -> list[str]:
        """Return the records for which one waits, as far as a cycle could lead through them."""
        if record_id in self._turn_before:
            return [self._turn_before[record_id]]
        after = self._records[record_id].after or () if record_id in self._records else ()
        return [each for each in after if each in self._records or each in self._turn_before]
