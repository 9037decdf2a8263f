"""The JSON Schemas accept what tracesim reads and writes, know every member of it, and reject errors."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from command_line import run
from paths import FORMATS, GOLDEN, SAMPLES
from published_schemas import errors_by
from trace_files import read_text
from tracesim_cli.commands.schema import SchemaName

TRACES = sorted(SAMPLES.glob("*.jsonl"))
FOREIGN = sorted(path for path in FORMATS.iterdir() if "openai_batch" not in path.name)
RUNS = {
    "simple": [],
    "a-small-cache": ["--engine", "vllm-v0", "--num-gpu-blocks", "6"],
    "prefix-caching": ["--engine", "vllm-v1", "--enable-prefix-caching", "--max-num-batched-tokens", "16"],
    "async": ["--engine", "vllm-v1", "--async-scheduling", "--num-gpu-blocks", "60"],
    "clock": ["--clock", "constant:20ms", "--arrivals", "poisson:2", "--slo", "ttft=1s"],
    "profile": ["--profile", "vllm-serve", "--max-tokens", "3"],
}


@cache
def schema(name: SchemaName) -> Any:
    return json.loads(run("schema", name).stdout)


@cache
def closed_schema(name: SchemaName) -> Any:
    """The schema without further members: it accepts a document only if it knows every member."""

    def close(node: Any) -> None:
        for each in node.values() if isinstance(node, dict) else node:
            if isinstance(each, (dict, list)):
                close(each)
        if isinstance(node, dict) and isinstance(node.get("properties"), dict):
            node.setdefault("additionalProperties", False)

    closed = copy.deepcopy(schema(name))
    close(closed)
    return closed


def assert_described(name: SchemaName, document: Any) -> None:
    assert errors_by(schema(name), document) == []
    assert errors_by(closed_schema(name), document) == []


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", get_args(SchemaName))
def test_a_schema_is_one_itself(name: SchemaName) -> None:
    jsonschema = pytest.importorskip("jsonschema")

    jsonschema.Draft202012Validator.check_schema(schema(name))


def test_schemas_are_listed() -> None:
    listed = [line.split()[0] for line in run("schema").stdout.splitlines()]

    assert listed == [*get_args(SchemaName)]


@pytest.mark.parametrize("trace", TRACES, ids=lambda path: path.stem)
def test_records_of_the_samples_are_accepted(trace: Path) -> None:
    for record in lines(trace):
        assert errors_by(schema("trace"), record) == []


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("trace", TRACES, ids=lambda path: path.stem)
def test_steps_and_reports_are_accepted(trace: Path, name: str, tmp_path: Path) -> None:
    saved = {"--save-steps": tmp_path / "steps.jsonl", "--save-report": tmp_path / "report.json"}
    options = [word for pair in saved.items() for word in pair]

    result = run("replay", trace, *RUNS[name], *options, "--format", "summary")

    assert result.exit_code == 0, result.stderr
    for step in lines(saved["--save-steps"]):
        assert_described("step", step)
    assert_described("report", json.loads(saved["--save-report"].read_text(encoding="utf-8")))


def test_settings_that_may_be_lists_are_accepted() -> None:
    result = run("replay", SAMPLES / "tour.jsonl", "--stop", "a", "--stop", "b", "--format", "json")

    assert_described("report", json.loads(result.stdout))


def test_diffs_are_accepted(tmp_path: Path) -> None:
    steps = GOLDEN / "milestone.steps.jsonl"
    changed = tmp_path / "changed.jsonl"
    changed.write_text(steps.read_text().replace('"running":2', '"running":3', 1).rsplit("\n", 2)[0] + "\n")

    for other in (steps, changed):
        assert_described("diff", json.loads(run("diff", steps, other, "--format", "json").stdout))


def test_comparisons_are_accepted(tmp_path: Path) -> None:
    reports = []
    for name, options in (("a", []), ("b", RUNS["clock"]), ("c", RUNS["prefix-caching"])):
        path = tmp_path / f"{name}.json"
        run("replay", SAMPLES / "tour.jsonl", *options, "--format", "summary", "--save-report", path)
        reports.append(path)

    assert_described("compare", json.loads(run("compare", *reports, "--format", "json").stdout))


@pytest.mark.parametrize("trace", [*TRACES, *FOREIGN], ids=lambda path: path.name)
def test_inspections_and_validations_are_accepted(trace: Path) -> None:
    for name in ("inspect", "validate"):
        assert_described(name, json.loads(run(name, trace, "--format", "json").stdout))


def test_the_size_of_a_kv_cache_is_accepted(tmp_path: Path) -> None:
    run("vllm-model", tmp_path / "model")
    options = ["--memory", "24GiB", "--format", "json"]

    assert_described(
        "kv-blocks", json.loads(run("kv-blocks", "--model", tmp_path / "model", *options).stdout)
    )


def test_golden_documents_are_accepted() -> None:
    assert_described("validate", json.loads((GOLDEN / "validate" / "report.json").read_text()))
    assert_described("report", json.loads((GOLDEN / "milestone.report.json").read_text()))
    assert_described("compare", json.loads((GOLDEN / "compare" / "compare.json").read_text()))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("step", {"schema": "tracesim.step/2"}),
        ("step", {"running": None}),
        ("step", {"running": "2"}),
        ("step", {"cached": None}),
        ("step", {"emitted": [{"id": "r1", "token_id": "7", "text": None}]}),
        ("step", {"finished": [{"id": "r1"}]}),
        ("report", {"requests": None}),
        ("report", {"requests": [{"id": "r1"}]}),
        ("report", {"summary": {}}),
        ("report", {"config": {"max_num_seqs": 0}}),
        ("report", {"metrics": None}),
        ("validate", {"problems": [{"code": "bom"}]}),
        ("validate", {"files": "a"}),
    ],
)
def test_a_wrong_member_is_rejected(name: SchemaName, change: dict[str, Any]) -> None:
    documents = {
        "step": lines(GOLDEN / "milestone.steps.jsonl")[0],
        "report": json.loads((GOLDEN / "milestone.report.json").read_text()),
        "validate": json.loads((GOLDEN / "validate" / "report.json").read_text()),
    }

    assert errors_by(schema(name), documents[name]) == []
    assert errors_by(schema(name), documents[name] | change) != []


SCALARS = [None, True, -1, 0, 1, 7, 2**32, 10**9 + 1, 10**13, 2**63, 2**64, 0.5, -0.5, 1e11 + 0.5, "", "a"]
VALUES = st.sampled_from([*SCALARS, [], [1], [-1], ["a"], [""], [1, "a"], [2**32], {}, {"a": 1}])
NAMES = [*schema("trace")["properties"], "other"]
USUAL = [
    {"prompt": "a", "response": "b"},
    {"prompt_token_ids": [1], "response_token_ids": [2]},
    {"input_length": 3, "output_length": 1},
    {"input_length": 3, "output_length": 1, "hash_ids": [7]},
    {},
]
records = st.builds(
    lambda usual, more: {**usual, **more},
    st.sampled_from(USUAL),
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4),
)


def is_expressible(record: dict[str, Any]) -> bool:
    """Whether the verdict on a record does not depend on several values, nor on other records.

    Nor on a time that is read in another unit than the schema's seconds, with a warning.
    """
    problems = read_text(json.dumps(record) + "\n")[1]
    others = {"hash-count", "unknown-after", "after-cycle", "time-unit"}
    return not any(each.code in others or "at most max_tokens" in each.message for each in problems)


def test_a_record_without_any_hash_id_is_refused() -> None:
    record = {"input_length": 7, "output_length": 2, "hash_ids": []}

    assert errors_by(schema("trace"), record) != []


@given(records.filter(is_expressible))
def test_the_verdict_on_a_record_is_that_of_validate(record: dict[str, Any]) -> None:
    problems = read_text(json.dumps(record) + "\n")[1]
    codes = [problem.code for problem in problems if problem.severity == "error"]

    assert bool(errors_by(schema("trace"), record)) == bool([code for code in codes if code != "empty-file"])
