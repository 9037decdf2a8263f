"""Step logs, from `--save-steps` or a golden case, read as steps that can be compared.

Logs differ in the fields that they have: a golden case has no text, and a log without prefix caching has no
`cached`. The fields of a log are known once it is open; every step then has exactly these.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import orjson

from tracesim.config import EngineConfig
from tracesim.engine.step_json import STEP_SCHEMA
from tracesim.engine.step_records import StepRecord
from tracesim.errors import StepLogError, TraceProblem
from tracesim.trace.formats.detection import kind_of_file
from tracesim.trace.input_file import InputFile

FieldNames = Mapping[str, Sequence[str]]
"""Fields of a step, each with the fields of its entries; a list of ids, and a number, has none."""

_TEXT, _INTEGER, _NONE = frozenset([str]), frozenset([int]), frozenset([type(None)])
_BATCH = {"id": _TEXT, "computed": _INTEGER, "tokens": _INTEGER}
_ENTRIES = {
    "prefill": _BATCH,
    "decode": _BATCH,
    "cached": {"id": _TEXT, "tokens": _INTEGER},
    "emitted": {"id": _TEXT, "token_id": _INTEGER | _NONE, "text": _TEXT | _NONE},
    "finished": {"id": _TEXT, "finish_reason": _TEXT, "stop_reason": _TEXT | _NONE},
}
_IDS = ("preempted", "discarded")
_NUMBERS = {"running": _INTEGER, "waiting": _INTEGER, "free_blocks": _INTEGER | _NONE}
_OPTIONAL = frozenset({"cached", "discarded"})

STEP_FIELDS: dict[str, tuple[str, ...]] = {
    **{name: tuple(entry) for name, entry in _ENTRIES.items()},
    **dict.fromkeys([*_IDS, *_NUMBERS], ()),
}
"""The fields of a step record; `cached` needs prefix caching, `discarded` asynchronous scheduling."""

GOLDEN_FIELDS: dict[str, tuple[str, ...]] = {
    "prefill": tuple(_BATCH),
    "decode": tuple(_BATCH),
    "scheduled": (),
    "emitted": ("id",),
    "finished": ("id", "finish_reason"),
    "preempted": (),
    "discarded": (),
    "running": (),
    "running_ids": (),
    "waiting": (),
    "free_blocks": (),
}
"""The fields of a golden case; `scheduled` has the ids of both batches, `running_ids` of all running."""

_GOLDEN_UNORDERED = frozenset({"finished", "preempted"})
_MAX_NAMED_CASES = 3
_USUAL_START = b'{"schema":"' + STEP_SCHEMA.encode()


class LoggedStep(NamedTuple):
    """A step of a log: its number, and its fields by the names of a step record."""

    number: int
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StepLog:
    """An open step log. `steps` ascend, can be iterated once, and raise StepLogError where the file is wrong.

    `fields` are the fields that every step has. `unordered` names the lists whose order has no meaning;
    `case` is the name of the golden case, if it is one.
    """

    name: str
    fields: FieldNames
    steps: Iterator[LoggedStep]
    unordered: frozenset[str] = frozenset()
    case: str | None = None


def open_step_log(path: str | os.PathLike[str], case: str | None = None) -> StepLog:
    """Open a JSONL file of step records or golden cases, compressed or not; `-` is standard input.

    `case` names one of several golden cases. Raises StepLogError for a file that is not a step log.
    """
    file = InputFile(path)
    name, objects = file.name, _objects(file)
    first = next(objects, None)
    if first is None:
        raise StepLogError(name, None, "has no steps")
    line, value = first
    if value.get("schema") == STEP_SCHEMA:
        fields = {
            field: parts for field, parts in STEP_FIELDS.items() if field not in _OPTIONAL - value.keys()
        }
        return StepLog(name, fields, _steps(name, chain([first], objects), fields))
    if "schema" in value:
        raise StepLogError(name, line, f"has the schema {value['schema']!r}; a step log has {STEP_SCHEMA!r}")
    if not {"name", "requests", "steps"} <= value.keys():
        message = f"is neither a step record ({STEP_SCHEMA}, which --save-steps writes) nor a golden case"
        raise StepLogError(name, line, message)
    line, value = _chosen(name, chain([first], objects), case)
    steps = value["steps"]
    is_async = isinstance(steps, list) and steps and isinstance(steps[0], dict) and "discarded" in steps[0]
    fields = {field: parts for field, parts in GOLDEN_FIELDS.items() if is_async or field != "discarded"}
    return StepLog(name, fields, _golden(name, line, value), _GOLDEN_UNORDERED, value["name"])


def run_log(config: EngineConfig) -> StepLog:
    """Return the log of a run that is still to happen: its steps come from `to_logged_step`, one by one."""
    optional = {"cached": config.enable_prefix_caching, "discarded": config.async_scheduling}
    fields = {field: parts for field, parts in STEP_FIELDS.items() if optional.get(field, True)}
    return StepLog("this run", fields, iter(()))


def to_logged_step(record: StepRecord) -> LoggedStep:
    """Return a step record as a step of a log."""
    fields = orjson.loads(orjson.dumps(record))
    # Steps are compared, not how long they take; "rejected" repeats a part of "finished".
    del fields["start"], fields["duration"], fields["rejected"], fields["launched"]
    for name in _OPTIONAL:
        if fields[name] is None:
            del fields[name]
    return LoggedStep(record.step, fields)


def _objects(file: InputFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each line that is not blank as a JSON object, with its number.

    Raises StepLogError where there is another line, and before the first one if the file is of another kind.
    """
    number = 0
    for item in file:
        if number == 0 and not file.head.startswith(_USUAL_START):
            kind = kind_of_file(file.head)
            if kind and not kind.is_step_log:
                raise StepLogError(file.name, None, f"is {kind.name}, not a step log; {kind.use}")
        if isinstance(item, TraceProblem):
            if item.severity == "error":
                message = "is a directory; name a file" if item.code == "is-a-directory" else item.message
                raise StepLogError(item.file, item.line, message)
            continue
        number += 1
        if item.isspace():
            continue
        try:
            value = orjson.loads(item)
        except orjson.JSONDecodeError as error:
            raise StepLogError(file.name, number, f"is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise StepLogError(file.name, number, "is not a JSON object")
        yield number, value


def _steps(
    name: str, objects: Iterable[tuple[int, dict[str, Any]]], fields: FieldNames
) -> Iterator[LoggedStep]:
    before = -1
    for line, value in objects:
        unfit = (field for field in fields if field not in value or not _fits(field, value[field]))
        if value.get("schema") != STEP_SCHEMA:
            wrong = f"is not a step record: its schema is {value.get('schema')!r}, not {STEP_SCHEMA!r}"
        elif type(value.get("step")) is not int:
            wrong = "step: must be an integer"
        elif field := next(unfit, None):
            problem = "has another type than in a step record" if field in value else "is missing"
            wrong = f"{field}: {problem}"
        elif value["step"] <= before:
            wrong = f"step {value['step']} comes after step {before}; the steps of a log ascend"
        else:
            before = value["step"]
            del value["schema"]  # so that equal steps are equal dictionaries
            if not _is_idle(value):
                yield LoggedStep(before, value)
            continue
        raise StepLogError(name, line, wrong)


def _fits(field: str, value: object) -> bool:
    if field in _NUMBERS:
        return type(value) in _NUMBERS[field]
    if not value or not isinstance(value, list):
        return value == []
    if field in _IDS:
        return {*map(type, value)} == {str}
    try:
        for part, kinds in _ENTRIES[field].items():
            if not kinds.issuperset([type(item[part]) for item in value]):
                return False
    except (KeyError, TypeError):
        return False
    return True


def _is_idle(step: Mapping[str, Any]) -> bool:
    return not (step["prefill"] or step["decode"] or step["finished"] or step["preempted"])


def _chosen(
    name: str, cases: Iterator[tuple[int, dict[str, Any]]], wanted: str | None
) -> tuple[int, dict[str, Any]]:
    """Return the wanted case, or the only one."""
    if wanted is None:
        only = next(cases)
        names = [only[1]["name"], *(str(value.get("name")) for _, value in cases)]
        if len(names) == 1:
            return only
        listed = ", ".join(names[:_MAX_NAMED_CASES]) + (", ..." if len(names) > _MAX_NAMED_CASES else "")
        raise StepLogError(name, None, f"has {len(names):,} cases ({listed}); choose one with --case")
    names = []
    for line, value in cases:
        if value.get("name") == wanted:
            return line, value
        names.append(str(value.get("name")))
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0)
    raise StepLogError(name, None, f"has no case {wanted!r}; did you mean {near[0]!r}?")


def _golden(name: str, line: int, case: dict[str, Any]) -> Iterator[LoggedStep]:
    """Return the steps of a golden case without idle steps, which a step log never has.

    A decode is one token, the last that the request has, and an output token. V0 records how many of the
    scheduled requests are prefill.
    """
    try:
        prompts = {request["id"]: len(request["prompt_ids"]) for request in case["requests"]}
        emitted: Counter[str] = Counter()
        steps = []
        for step in case["steps"]:
            batches: dict[str, list[Any]] = {"prefill": [], "decode": []}
            for index, (request_id, computed, tokens) in enumerate(step["scheduled"]):
                outputs = emitted[request_id]
                if "num_prefill" in step:
                    decodes = index >= step["num_prefill"]
                else:
                    decodes = tokens == 1 and outputs > 0 and computed + 1 == prompts[request_id] + outputs
                entry = {"id": request_id, "computed": computed, "tokens": tokens}
                batches["decode" if decodes else "prefill"].append(entry)
            emitted.update(step["emitted"])
            fields = {
                **batches,
                "scheduled": [entry[0] for entry in step["scheduled"]],
                "emitted": [{"id": each} for each in step["emitted"]],
                "finished": [{"id": each, "finish_reason": why} for each, why in step["finished"].items()],
                "preempted": list(step["preempted"]),
                **({"discarded": step["discarded"]} if "discarded" in step else {}),
                "running": len(step["running"]),
                "running_ids": list(step["running"]),
                "waiting": step["waiting"],
                "free_blocks": step["free_blocks"],
            }
            if not _is_idle(fields):
                steps.append(LoggedStep(step["step"], fields))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        message = f"the case {case['name']} is not a golden case: {type(error).__name__}: {error}"
        raise StepLogError(name, line, message) from None
    return iter(steps)
