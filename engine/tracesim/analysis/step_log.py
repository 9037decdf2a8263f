"""Step logs, from `--save-steps` or a golden case, read as steps that can be compared.

Logs differ in the fields that they have: a golden case has no text, and a log without prefix caching has no
`cached`. The fields of a log are known once it is open; every step then has exactly these.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import orjson

from tracesim.config import EngineConfig
from tracesim.engine.step_json import STEP_SCHEMA
from tracesim.engine.step_records import StepRecord
from tracesim.errors import StepLogError, TraceProblem, brief
from tracesim.trace.formats.detection import kind_of_file
from tracesim.trace.input_file import InputFile
from tracesim.trace.json_object import LIGHT_BYTES, too_many_values

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
_TIMES = ("start", "duration")
_OPTIONAL = frozenset({"cached", "discarded"})

STEP_FIELDS: dict[str, tuple[str, ...]] = {
    **{name: tuple(entry) for name, entry in _ENTRIES.items()},
    **dict.fromkeys([*_IDS, *_NUMBERS], ()),
}
"""The fields of a step record; `cached` needs prefix caching, `discarded` requests that end late."""

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
_MAX_NAME = 80
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
        message = f"has the schema {brief(value['schema'])}; a step log has {STEP_SCHEMA!r}"
        raise StepLogError(name, line, message)
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
    optional = {
        "cached": config.enable_prefix_caching,
        "discarded": config.async_scheduling or config.stop_delay,
    }
    fields = {field: parts for field, parts in STEP_FIELDS.items() if optional.get(field, True)}
    return StepLog("this run", fields, iter(()))


def to_logged_step(record: StepRecord) -> LoggedStep:
    """Return a step record as a step of a log."""
    fields = orjson.loads(orjson.dumps(record))
    # Steps are compared, not how long they take, nor why; "rejected" repeats a part of "finished".
    for name in ("start", "duration", "rejected", "launched", "preempted_for", "waiting_for", "replica"):
        del fields[name]
    for name in _OPTIONAL:
        if fields[name] is None:
            del fields[name]
    return LoggedStep(record.step, fields)


def _objects(file: InputFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each line that is not blank as a JSON object, with its number.

    Raises StepLogError where there is another line, and before the first one if the file is of another kind.
    """
    is_first = True
    for item in file:
        if is_first and not file.head.startswith(_USUAL_START):
            kind = kind_of_file(file.head)
            if kind and not kind.is_step_log:
                raise StepLogError(file.name, None, f"is {kind.name}, not a step log; {kind.use}")
        if isinstance(item, TraceProblem):
            if item.severity == "error":
                message = "is a directory; name a file" if item.code == "is-a-directory" else item.message
                raise StepLogError(item.file, item.line, message)
            continue
        is_first = False
        if item.isspace():
            continue
        number = file.line_number
        if len(item) > LIGHT_BYTES and (finding := too_many_values(item.decode("latin-1"))):
            raise StepLogError(file.name, number, finding.message)
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
            wrong = f"is not a step record: its schema is {brief(value.get('schema'))}, not {STEP_SCHEMA!r}"
        elif type(value.get("step")) is not int:
            wrong = "step: must be an integer"
        elif field := next(unfit, None):
            problem = "has another type than in a step record" if field in value else "is missing"
            wrong = f"{field}: {problem}"
        elif value["step"] <= before:
            wrong = f"step {value['step']} comes after step {before}; the steps of a log ascend"
        else:
            before = value["step"]
            times = {time: value[time] for time in _TIMES if type(value.get(time)) in (int, float)}
            known = {"step": before, **{field: value[field] for field in fields}, **times}
            for field, parts in fields.items():
                if parts and any(len(entry) > len(parts) for entry in known[field]):
                    known[field] = [{part: entry[part] for part in parts} for entry in known[field]]
            if not _is_idle(known):
                yield LoggedStep(before, known)
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
    named = ((_case_name(name, line, case), line, case) for line, case in cases)
    if wanted is None:
        first, line, case = next(named)
        names = [first, *(each for each, _, _ in named)]
        if len(names) == 1:
            return line, case
        listed = ", ".join(names[:_MAX_NAMED_CASES]) + (", ..." if len(names) > _MAX_NAMED_CASES else "")
        raise StepLogError(name, None, f"has {len(names):,} cases ({listed}); choose one with --case")
    names = []
    for case_name, line, case in named:
        if case["name"] == wanted:
            return line, case
        names.append(case_name)
    near = difflib.get_close_matches(wanted[:_MAX_NAME], names, n=1, cutoff=0)
    raise StepLogError(name, None, f"has no case {brief(wanted)}; did you mean {near[0]!r}?")


def _case_name(name: str, line: int, case: dict[str, Any]) -> str:
    """Return the name of a golden case as far as a message shows it."""
    if not isinstance(case.get("name"), str):
        raise StepLogError(name, line, "name: must be a string in a golden case")
    return str(case["name"])[:_MAX_NAME]


def _golden(name: str, line: int, case: dict[str, Any]) -> Iterator[LoggedStep]:
    """Return the steps of a golden case without idle steps, which a step log never has.

    A decode is one token, the last that the request has, and an output token. V0 records how many of the
    scheduled requests are prefill.
    """
    emitted: Counter[str] = Counter()
    steps: list[LoggedStep] = []
    try:
        prompts = {
            _item(request, "id", _is_text): len(_item(request, "prompt_ids", _is_list))
            for request in _item(case, "requests", _is_list)
        }
        for step in _item(case, "steps", _is_list):
            number = _item(step, "step", _is_integer)
            if steps and number <= steps[-1].number:
                raise _UnfitError(f"step {number} comes after step {steps[-1].number}; steps ascend")
            fields = _golden_fields(step, prompts, emitted)
            if not _is_idle(fields):
                steps.append(LoggedStep(number, fields))
    except _UnfitError as error:
        message = f"the case {brief(case['name'])} is not a golden case: {error}"
        raise StepLogError(name, line, message) from None
    return iter(steps)


def _golden_fields(step: dict[str, Any], prompts: Mapping[str, int], emitted: Counter[str]) -> dict[str, Any]:
    """Return the fields of a step of a golden case, and count in `emitted` what it emits."""
    scheduled = _item(step, "scheduled", _is_list)
    num_prefill = _item(step, "num_prefill", _is_integer) if "num_prefill" in step else None
    batches: dict[str, list[Any]] = {"prefill": [], "decode": []}
    for index, entry in enumerate(scheduled):
        if not (isinstance(entry, list) and [*map(type, entry)] == [str, int, int]):
            raise _UnfitError("scheduled: must be lists of an id, computed tokens and tokens")
        request_id, computed, tokens = entry
        if request_id not in prompts:
            raise _UnfitError(f"scheduled: {brief(request_id)} is not one of the requests")
        if num_prefill is not None:
            decodes = index >= num_prefill
        else:
            outputs = emitted[request_id]
            decodes = tokens == 1 and outputs > 0 and computed + 1 >= prompts[request_id] + outputs
        batches["decode" if decodes else "prefill"].append(
            {"id": request_id, "computed": computed, "tokens": tokens}
        )
    emits = _item(step, "emitted", _is_text_list)
    emitted.update(emits)
    running, finished = _item(step, "running", _is_text_list), _item(step, "finished", _is_text_dict)
    return {
        **batches,
        "scheduled": [entry[0] for entry in scheduled],
        "emitted": [{"id": each} for each in emits],
        "finished": [{"id": each, "finish_reason": why} for each, why in finished.items()],
        "preempted": _item(step, "preempted", _is_text_list),
        **({"discarded": _item(step, "discarded", _is_text_list)} if "discarded" in step else {}),
        "running": len(running),
        "running_ids": running,
        "waiting": _item(step, "waiting", _is_integer),
        "free_blocks": _item(step, "free_blocks", _is_integer_or_none),
    }


class _UnfitError(Exception):
    """A part of a golden case is missing or has another type."""


def _item(container: object, key: str, is_accepted: Callable[[Any], bool]) -> Any:
    """Return a part of an object. Raises _UnfitError if there is none, or it is not accepted."""
    if not isinstance(container, dict):
        raise _UnfitError("a request and a step must be objects")
    if key not in container:
        raise _UnfitError(f"{key}: is missing")
    if not is_accepted(container[key]):
        raise _UnfitError(f"{key}: has another type than in a golden case")
    return container[key]


def _is_text(value: object) -> bool:
    return type(value) is str


def _is_integer(value: object) -> bool:
    return type(value) is int


def _is_integer_or_none(value: object) -> bool:
    return value is None or type(value) is int


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _is_text_list(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_text_dict(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))
