"""The comparison of two step logs: which steps differ, in which fields and entries. No file is read here."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tracesim.analysis.step_log import GOLDEN_FIELDS, STEP_FIELDS, FieldNames, LoggedStep, StepLog
from tracesim.errors import ConfigError

FIELDS: tuple[str, ...] = tuple(STEP_FIELDS | GOLDEN_FIELDS)
"""Every field in which steps can be compared."""


def _dotted(fields: FieldNames) -> list[str]:
    """Return `prefill.id`, ..., `running`: the full name of everything that can differ."""
    return [
        name for field, parts in fields.items() for name in ([f"{field}.{part}" for part in parts] or [field])
    ]


IGNORABLE: tuple[str, ...] = tuple(dict.fromkeys([*FIELDS, *_dotted(STEP_FIELDS)]))
"""What `Comparison` can ignore."""

Entry = tuple[Any, ...]
"""One entry of a list: the values of its compared fields, or only the id."""


class StepPair(NamedTuple):
    """The steps of one number in both logs, None if a log has no such step, and the fields that differ."""

    number: int
    left: LoggedStep | None
    right: LoggedStep | None
    fields: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the two steps differ, or one of them is missing."""
        return bool(self.fields) or self.left is None or self.right is None


class Comparison:
    """What can be compared of two logs: the fields that both have and that are not ignored.

    `ignore` has names of fields, or of fields of entries such as "emitted.text"; an unknown name raises
    ConfigError. A list is compared in order, unless its order has no meaning in one of the logs.
    """

    def __init__(self, left: StepLog, right: StepLog, ignore: Iterable[str] = ()) -> None:
        self.left, self.right = left, right
        ignored = frozenset(ignore)
        if unknown := ignored.difference(IGNORABLE):
            raise ConfigError(
                f"{', '.join(sorted(unknown))}: no such field; known are {', '.join(IGNORABLE)}"
            )
        self.fields: dict[str, tuple[str, ...]] = {}
        for name in FIELDS:
            if name in left.fields and name in right.fields and name not in ignored:
                parts = [part for part in left.fields[name] if part in right.fields[name]]
                kept = tuple(part for part in parts if f"{name}.{part}" not in ignored)
                if kept or not parts:
                    self.fields[name] = kept
        self._unordered = left.unordered | right.unordered

    @property
    def not_compared(self) -> list[str]:
        """The fields of one log that are not compared: ignored, or not in the other log."""
        compared = set(_dotted(self.fields))
        existing = self.left.fields.keys() | self.right.fields.keys()
        missing = [name for name in FIELDS if name not in self.fields and name in existing]
        parts = dict.fromkeys([*_dotted(self.left.fields), *_dotted(self.right.fields)])
        return missing + [p for p in parts if p not in compared and p.split(".")[0] in self.fields]

    def pair(self, left: LoggedStep, right: LoggedStep) -> StepPair:
        """Compare two steps of one number."""
        differing: tuple[str, ...] = ()
        if left.fields != right.fields:
            differing = tuple(
                name for name in self.fields if self.value(left, name) != self.value(right, name)
            )
        return StepPair(left.number, left, right, differing)

    def value(self, step: LoggedStep, name: str) -> Any:
        """Return the value of a field as it is compared: a number, or a list of entries."""
        value = step.fields[name]
        if not isinstance(value, list):
            return value
        parts = self.fields[name]
        entries = (
            [tuple([item[part] for part in parts]) for item in value]
            if parts
            else [(item,) for item in value]
        )
        return sorted(entries, key=repr) if name in self._unordered else entries

    def pairs(self) -> Iterator[StepPair]:
        """Yield every step of the two logs, matched by number, equal ones included."""
        matcher = StepMatcher(self)
        for step in self.right.steps:
            yield from matcher.push(step)
        yield from matcher.finish()


class StepMatcher:
    """Matches the steps of the right log, as they come, with the left log, in constant memory."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._left = comparison.left.steps
        self._next = next(self._left, None)

    def push(self, right: LoggedStep) -> Iterator[StepPair]:
        """Yield the steps before `right` that only the left log has, then the pair of `right`."""
        while self._next and self._next.number < right.number:
            yield self._only_left(self._next)
        if self._next and self._next.number == right.number:
            left, self._next = self._next, next(self._left, None)
            yield self._comparison.pair(left, right)
        else:
            yield StepPair(right.number, None, right, ())

    def finish(self) -> Iterator[StepPair]:
        """Yield the steps of the left log after the last of the right."""
        while self._next:
            yield self._only_left(self._next)

    def _only_left(self, left: LoggedStep) -> StepPair:
        self._next = next(self._left, None)
        return StepPair(left.number, left, None, ())


@dataclass(slots=True)
class StepDiff:
    """The result of comparing all pairs: the first that differs, the steps around it, and counts.

    `context` steps before and after the first difference are kept. `by_field` counts the steps that both logs
    have and that differ in a field.
    """

    context: int = 3
    steps: int = 0
    differing: int = 0
    only_left: int = 0
    only_right: int = 0
    by_field: Counter[str] = field(default_factory=Counter)
    steps_before: int = 0
    before: deque[StepPair] = field(default_factory=deque)
    first: StepPair | None = None
    after: list[StepPair] = field(default_factory=list)

    def add(self, pair: StepPair) -> bool:
        """Add a pair, and return whether it differs."""
        self.steps += 1
        differs = pair.differs
        if differs:
            self.differing += 1
            self.only_left += pair.right is None
            self.only_right += pair.left is None
            self.by_field.update(pair.fields)
        if self.first is not None:
            if len(self.after) < self.context:
                self.after.append(pair)
        elif differs:
            self.first = pair
        else:
            self.steps_before += 1
            self.before.append(pair)
            if len(self.before) > self.context:
                self.before.popleft()
        return differs


def diff_steps(pairs: Iterable[StepPair], context: int = 3) -> StepDiff:
    """Return the result of comparing all pairs."""
    diff = StepDiff(context)
    for pair in pairs:
        diff.add(pair)
    return diff


def align(left: Sequence[Entry], right: Sequence[Entry]) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Yield the entries of two lists side by side by their first value, the id; None where one side has none.

    Both lists keep their order, so an entry that moved appears once on each side. As many as possible stand
    side by side: ids are numbered where they repeat, and then the longest ascending run of places counts.
    """
    place_of = {key: place for place, key in enumerate(_numbered(right))}
    places = [place_of.get(key) for key in _numbered(left)]
    next_left = next_right = 0
    for at in _longest_ascending(places):
        yield from ((entry, None) for entry in left[next_left:at])
        place = places[at] or 0
        yield from ((None, entry) for entry in right[next_right:place])
        yield left[at], right[place]
        next_left, next_right = at + 1, place + 1
    yield from ((entry, None) for entry in left[next_left:])
    yield from ((None, entry) for entry in right[next_right:])


def _numbered(entries: Sequence[Entry]) -> Iterator[tuple[Any, int]]:
    """Yield the id of each entry, and how many entries before it have the same one."""
    counts: Counter[Any] = Counter()
    for entry in entries:
        yield entry[0], counts[entry[0]]
        counts[entry[0]] += 1


def _longest_ascending(values: Sequence[int | None]) -> list[int]:
    """Return the positions of a longest ascending subsequence, without None, by patience sorting."""
    ends: list[int] = []  # the smallest last value of a subsequence of each length
    at_end: list[int] = []  # its position
    before = [-1] * len(values)
    for at, value in enumerate(values):
        if value is None:
            continue
        length = bisect_left(ends, value)
        before[at] = at_end[length - 1] if length else -1
        ends[length : length + 1], at_end[length : length + 1] = [value], [at]
    found = []
    at = at_end[-1] if at_end else -1
    while at >= 0:
        found.append(at)
        at = before[at]
    return found[::-1]
