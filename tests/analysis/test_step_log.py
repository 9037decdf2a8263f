"""Step logs: what is read, in which form, and what is refused with its place."""

from __future__ import annotations

import gzip
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from factories import a_record, an_engine, steps_of
from paths import GOLDEN
from steps import a_step, write_lines
from tracesim.analysis.step_log import STEP_FIELDS, LoggedStep, open_step_log, to_logged_step
from tracesim.engine.step_json import step_to_json
from tracesim.engine.step_records import StepRecord
from tracesim.errors import StepLogError


def a_case(name: str = "plain", **varied: Any) -> dict[str, Any]:
    """A golden case: a prompt of two tokens, three steps, the second one idle."""
    step = {
        "emitted": ["r0"],
        "preempted": [],
        "finished": {},
        "running": ["r0"],
        "waiting": 0,
        "free_blocks": 3,
    }
    idle = step | {"step": 1, "scheduled": [], "emitted": []}
    usual: dict[str, Any] = {
        "name": name,
        "requests": [{"id": "r0", "prompt_ids": [7, 8]}],
        "steps": [
            step | {"step": 0, "scheduled": [["r0", 0, 2]]},
            idle,
            step | {"step": 2, "scheduled": [["r0", 2, 1]], "finished": {"r0": "stop"}, "running": []},
        ],
    }
    return usual | varied


def a_file(folder: Path, *objects: Any, name: str = "log.jsonl") -> Path:
    return write_lines(folder / name, *objects)


def refusal(path: Path | str, case: str | None = None) -> str:
    with pytest.raises(StepLogError) as caught:
        list(open_step_log(path, case).steps)
    return str(caught.value)


def test_a_saved_run_is_read_as_it_was(tmp_path: Path) -> None:
    records = steps_of(an_engine([a_record("r1"), a_record("r2", prompt="Hello", arrival_step=2)]))
    path = tmp_path / "log.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(map(step_to_json, records))))

    assert list(map(to_logged_step, records)) == list(open_step_log(path).steps)


def test_every_field_of_a_step_record_is_logged() -> None:
    """Except when and why it happened, as only what happens is compared, and what repeats `finished`."""
    not_logged = {"start", "duration", "rejected", "launched", "preempted_for", "waiting_for", "replica"}
    logged = {field.name for field in fields(StepRecord)} - not_logged

    assert logged == {"step", *STEP_FIELDS}


def test_what_is_cached_is_told_where_the_log_has_it(tmp_path: Path) -> None:
    with_it = a_file(tmp_path, a_step(cached=[]))
    without = a_file(tmp_path, a_step(), name="without.jsonl")

    assert "cached" in open_step_log(with_it).fields
    assert "cached" not in open_step_log(without).fields


def test_a_golden_case_becomes_steps_without_the_idle_ones(tmp_path: Path) -> None:
    first, last = open_step_log(a_file(tmp_path, a_case())).steps

    assert (
        first.number,
        first.fields["prefill"],
        first.fields["decode"],
    ) == (0, [{"id": "r0", "computed": 0, "tokens": 2}], [])
    assert (
        LoggedStep(
            2,
            {
                "prefill": [],
                "decode": [{"id": "r0", "computed": 2, "tokens": 1}],
                "scheduled": ["r0"],
                "emitted": [{"id": "r0"}],
                "finished": [{"id": "r0", "finish_reason": "stop"}],
                "preempted": [],
                "running": 0,
                "running_ids": [],
                "waiting": 0,
                "free_blocks": 3,
            },
        )
        == last
    )


def test_v0_says_itself_how_many_are_prefill(tmp_path: Path) -> None:
    case = a_case()
    for step in case["steps"]:
        step["num_prefill"] = len(step["scheduled"])
    *_, last = open_step_log(a_file(tmp_path, case)).steps

    assert [entry["id"] for entry in last.fields["prefill"]] == ["r0"]


@pytest.mark.parametrize("name", ["v0.jsonl.gz", "v1.jsonl.gz"])
def test_every_golden_case_can_be_read(name: str) -> None:
    with gzip.open(GOLDEN / name) as lines:
        cases = [json.loads(line) for line in lines]
    case = cases[-1]
    steps = list(open_step_log(GOLDEN / name, case["name"]).steps)

    busy = [step for step in case["steps"] if step["scheduled"] or step["finished"] or step["preempted"]]
    assert [step["step"] for step in busy] == [step.number for step in steps]
    assert [sorted(step["finished"]) for step in busy] == [
        sorted(entry["id"] for entry in step.fields["finished"]) for step in steps
    ]


def test_one_of_several_cases_has_to_be_chosen(tmp_path: Path) -> None:
    path = a_file(tmp_path, *map(a_case, ["a1", "b2", "c3", "d4"]))

    assert f"{path}: has 4 cases (a1, b2, c3, ...); choose one with --case" == refusal(path)
    assert f"{path}: has no case 'b9'; did you mean 'b2'?" == refusal(path, "b9")
    assert open_step_log(path, "c3").case == "c3"


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([], ": has no steps"),
        ([[1]], ":1: is not a JSON object"),
        ([{"prompt": "Hi", "response": "there"}], ": is a trace (tracesim), not a step log"),
        ([{"question": "Hi"}], ":1: is neither a step record"),
        ([{"schema": "other/1"}], ":1: has the schema 'other/1'"),
        ([a_step(0), a_step(0)], ":2: step 0 comes after step 0"),
        ([a_step(0), {"schema": "x"}], ":2: is not a step record: its schema is 'x'"),
        ([a_step(0, step="0")], ":1: step: must be an integer"),
        ([a_step(0, running=True)], ":1: running: has another type"),
        ([a_step(0, emitted=[{"id": "r1"}])], ":1: emitted: has another type"),
        ([a_step(0, preempted=[1])], ":1: preempted: has another type"),
        ([a_step(0, decode={})], ":1: decode: has another type"),
        ([a_step(0, cached=[]), a_step(1)], ":2: cached: is missing"),
        ([a_case(requests=[{}])], ":1: the case 'plain' is not a golden case: id: is missing"),
        (
            [a_case(steps=[1])],
            ":1: the case 'plain' is not a golden case: a request and a step must be objects",
        ),
        ([a_case() | {"name": 5}], ":1: name: must be a string"),
        ([a_case(), a_case() | {"name": 5}], ":2: name: must be a string"),
    ],
)
def test_what_is_no_step_log_is_refused_with_its_place(
    tmp_path: Path, objects: list[Any], expected: str
) -> None:
    path = a_file(tmp_path, *objects)

    assert refusal(path).startswith(f"{path}{expected}")


def test_a_line_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(a_step(0)) + "\n\n" + json.dumps(a_step(1))[:-9])

    assert f"{path}:3: is not JSON" in refusal(path)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.jsonl")
    assert "is a directory" in refusal(tmp_path)


@pytest.mark.parametrize("value", ["x", {"r1": 5}, [5], [["r1", 0]], 10**20])
@pytest.mark.parametrize(
    "field",
    ["step", "scheduled", "emitted", "finished", "preempted", "running", "waiting", "free_blocks"],
)
def test_a_part_of_a_golden_case_has_one_type(tmp_path: Path, field: str, value: Any) -> None:
    first, *others = a_case()["steps"]
    path = a_file(tmp_path, a_case(steps=[first | {field: value}, *others]))

    assert f":1: the case 'plain' is not a golden case: {field}: " in refusal(path)
