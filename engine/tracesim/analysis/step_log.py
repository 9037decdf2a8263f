"""Step logs: what `--save-steps` wrote, or a golden case, as steps that can be compared.

A log tells some fields and not others: a golden case knows no text, and a log without prefix caching has no
`cached`. What a log tells is known once it is open; every step then has exactly that.
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

from tracesim.engine.step_json import STEP_SCHEMA
from tracesim.engine.step_records import StepRecord
from tracesim.errors import StepLogError, TraceProblem
from tracesim.trace.input_file import InputFile

Tells = Mapping[str, Sequence[str]]
"""Fields of a step, each with the fields of its entries; a list of ids, and a figure, has none."""

_TEXT, _INTEGER, _NONE = frozenset([str]), frozenset([int]), frozenset([type(None)])
_BATCH = {"id": _TEXT, "computed": _INTEGER, "tokens": _INTEGER}
_ENTRIES = {
    "prefill": _BATCH,
    "decode": _BATCH,
    "cached": {"id": _TEXT, "tokens": _INTEGER},
    "emitted": {"id": _TEXT, "token_id": _INTEGER | _NONE, "text": _TEXT | _NONE},
    "finished": {"id": _TEXT, "finish_reason": _TEXT, "stop_reason": _TEXT | _NONE},
}
_IDS = ("preempted",)
_FIGURES = {"running": _INTEGER, "waiting": _INTEGER, "free_blocks": _INTEGER | _NONE}
_OPTIONAL = frozenset({"cached"})

STEP_TELLS: dict[str, tuple[str, ...]] = {
    **{name: tuple(entry) for name, entry in _ENTRIES.items()},
    **dict.fromkeys([*_IDS, *_FIGURES], ()),
}
"""What a step record tells; `cached` only with prefix caching."""

GOLDEN_TELLS: dict[str, tuple[str, ...]] = {
    "prefill": tuple(_BATCH),
    "decode": tuple(_BATCH),
    "scheduled": (),
    "emitted": ("id",),
    "finished": ("id", "finish_reason"),
    "preempted": (),
    "running": (),
    "running_ids": (),
    "waiting": (),
    "free_blocks": (),
}
"""What a golden case tells; `scheduled` are the ids of both batches as one, `running_ids` of all that run."""

_GOLDEN_UNORDERED = frozenset({"finished", "preempted"})
_NAMED = 3


class LoggedStep(NamedTuple):
    """A step as a log tells it: its number, and its fields in the words of a step record."""

    number: int
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StepLog:
    """A step log, open. `steps` ascend, can be had once, and raise StepLogError where the file is wrong.

    `unordered` names the lists whose order means nothing; `case` is the golden case, if it is one.
    """

    name: str
    tells: Tells
    steps: Iterator[LoggedStep]
    unordered: frozenset[str] = frozenset()
    case: str | None = None


def open_step_log(path: str | os.PathLike[str], case: str | None = None) -> StepLog:
    """Open a JSONL file of step records or golden cases; .gz, .zst and - (standard input) too.

    `case` names one of several golden cases. Raises StepLogError for what is no step log.
    """
    name = InputFile(path).name
    objects = _objects(path)
    first = next(objects, None)
    if first is None:
        raise StepLogError(name, None, "holds no steps")
    line, value = first
    if value.get("schema") == STEP_SCHEMA:
        tells = {field: parts for field, parts in STEP_TELLS.items() if field not in _OPTIONAL - value.keys()}
        return StepLog(name, tells, _steps(name, chain([first], objects), tells))
    if "schema" in value:
        raise StepLogError(name, line, f"has the schema {value['schema']!r}; a step log has {STEP_SCHEMA!r}")
    if not {"name", "requests", "steps"} <= value.keys():
        say = f"is no step record ({STEP_SCHEMA}, what --save-steps writes) and no golden case"
        raise StepLogError(name, line, say)
    line, value = _chosen(name, chain([first], objects), case)
    return StepLog(name, GOLDEN_TELLS, _golden(name, line, value), _GOLDEN_UNORDERED, value["name"])


def log_of_run(prefix_caching: bool) -> StepLog:
    """What a run tells as it happens: a log whose steps come from `logged`, one by one."""
    left_out = frozenset() if prefix_caching else _OPTIONAL
    tells = {field: parts for field, parts in STEP_TELLS.items() if field not in left_out}
    return StepLog("this run", tells, iter(()))


def logged(record: StepRecord) -> LoggedStep:
    """A step record as a log tells it."""
    fields = orjson.loads(orjson.dumps(record))
    del fields["start"], fields["duration"]  # steps are compared, not how long they take
    if record.cached is None:
        del fields["cached"]
    return LoggedStep(record.step, fields)


def _objects(path: str | os.PathLike[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every line that is not blank, with its number, as a JSON object."""
    file = InputFile(path)
    number = 0
    for item in file:
        if isinstance(item, TraceProblem):
            if item.severity == "error":
                say = "is a directory; name a file" if item.code == "is-a-directory" else item.message
                raise StepLogError(item.file, item.line, say)
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


def _steps(name: str, objects: Iterable[tuple[int, dict[str, Any]]], tells: Tells) -> Iterator[LoggedStep]:
    before = -1
    for line, value in objects:
        wrong = _wrong(value, tells)
        if not wrong and value["step"] <= before:
            wrong = f"step {value['step']} comes after step {before}; the steps of a log ascend"
        if wrong:
            raise StepLogError(name, line, wrong)
        before = value["step"]
        del value["schema"]  # so that equal steps are equal dictionaries
        if not _is_idle(value):
            yield LoggedStep(before, value)


def _wrong(value: dict[str, Any], tells: Tells) -> str | None:
    """What keeps `value` from being a step record that tells this, if anything does."""
    if value.get("schema") != STEP_SCHEMA:
        return f"is no step record: its schema is {value.get('schema')!r}, not {STEP_SCHEMA!r}"
    if type(value.get("step")) is not int:
        return "step: must be an integer"
    for field in tells:
        if field not in value:
            return f"{field}: is missing"
        if not _fits(field, value[field]):
            return f"{field}: is not what a step record has there"
    return None


def _fits(field: str, value: object) -> bool:
    if field in _FIGURES:
        return type(value) in _FIGURES[field]
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
    """The case that is wanted, or the only one."""
    if wanted is None:
        only = next(cases)
        names = [only[1]["name"], *(str(value.get("name")) for _, value in cases)]
        if len(names) == 1:
            return only
        listed = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
        raise StepLogError(name, None, f"has {len(names):,} cases ({listed}); choose one with --case")
    names = []
    for line, value in cases:
        if value.get("name") == wanted:
            return line, value
        names.append(str(value.get("name")))
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0)
    raise StepLogError(name, None, f"has no case {wanted!r}; did you mean {near[0]!r}?")


def _golden(name: str, line: int, case: dict[str, Any]) -> Iterator[LoggedStep]:
    """The steps of a golden case; idle ones, which a step log never has, are left out."""
    try:
        prompts = {request["id"]: len(request["prompt_ids"]) for request in case["requests"]}
        emitted: Counter[str] = Counter()
        steps = []
        for step in case["steps"]:
            fields = {**_batches(step, prompts, emitted), **_outcome(step)}
            emitted.update(step["emitted"])
            if not _is_idle(fields):
                steps.append(LoggedStep(step["step"], fields))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        say = f"the case {case['name']} is not a golden case: {type(error).__name__}: {error}"
        raise StepLogError(name, line, say) from None
    return iter(steps)


def _batches(step: dict[str, Any], prompts: Mapping[str, int], emitted: Mapping[str, int]) -> dict[str, Any]:
    """The one batch of a golden step as prefill and decode.

    A decode is one token, the last that the request has, and an output token. V0 tells how many are prefill.
    """
    batches: dict[str, list[Any]] = {"prefill": [], "decode": []}
    for index, (request_id, computed, tokens) in enumerate(step["scheduled"]):
        outputs = emitted.get(request_id, 0)
        if "num_prefill" in step:
            decodes = index >= step["num_prefill"]
        else:
            decodes = tokens == 1 and outputs > 0 and computed + 1 == prompts[request_id] + outputs
        entry = {"id": request_id, "computed": computed, "tokens": tokens}
        batches["decode" if decodes else "prefill"].append(entry)
    return {**batches, "scheduled": [entry[0] for entry in step["scheduled"]]}


def _outcome(step: dict[str, Any]) -> dict[str, Any]:
    return {
        "emitted": [{"id": request_id} for request_id in step["emitted"]],
        "finished": [
            {"id": request_id, "finish_reason": why} for request_id, why in step["finished"].items()
        ],
        "preempted": list(step["preempted"]),
        "running": len(step["running"]),
        "running_ids": list(step["running"]),
        "waiting": step["waiting"],
        "free_blocks": step["free_blocks"],
    }
