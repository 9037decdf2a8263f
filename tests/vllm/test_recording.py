"""A recording of vLLM, against a small fake of vLLM's types; `test_vllm_live.py` has the real thing."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

import fake_vllm
from fake_engine import Engine, ServedModel
from paths import MILESTONE
from steps import line_without_causes
from tracesim import EngineArgs, LLMEngine
from tracesim.errors import ConfigError
from tracesim.profiles.profile import load_profile
from tracesim.trace.reader import read_records
from tracesim.vllm import plugin
from tracesim.vllm.record_settings import RecordSettings
from tracesim.vllm.recorder import BackgroundLog, LineFile, PromptHashes
from tracesim.vllm.step_logger import Counts
from tracesim.vllm.step_times import StepTimes

pytestmark = pytest.mark.usefixtures("vllm")


def recorded(
    model: ServedModel, tmp_path: Path, *requests: tuple[str, dict[str, Any]], **settings: Any
) -> Path:
    """Return the trace of what the fake vLLM does with requests that all come before its first step."""
    run = tmp_path / "run.jsonl"
    engine = Engine(model, MILESTONE, record=str(run), **settings)
    for number, (prompt, fields) in enumerate(requests):
        engine.add(f"{number}-random", prompt, **fields)
    engine.run()
    return run


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


# ---- What is recorded


@pytest.mark.parametrize("async_scheduling", [False, True])
@pytest.mark.parametrize("content", ["text", "token-ids", "hashes", "lengths"])
def test_a_recording_takes_the_recorded_steps_when_it_is_replayed(
    model: ServedModel, tmp_path: Path, content: str, async_scheduling: bool
) -> None:
    """One request ends with its last token, one at its limit, and with text one by a stop string."""
    run = recorded(
        model,
        tmp_path,
        ("Hello", {}),
        ("Hi", {"max_tokens": 3}),
        ("StopCase", {"stop": ["STOP"]} if content == "text" else {}),
        record_content=content,
        async_scheduling=async_scheduling,
    )
    profile = load_profile(str(run.with_suffix(".profile.toml")))
    settings = {**profile.settings, "num_gpu_blocks": None, "stop_delay": 0}
    engine = LLMEngine.from_engine_args(EngineArgs(sim_trace_path=run, eos_step=True, **settings))
    engine.add_records(read_records([run]))
    replayed: list[dict[str, Any]] = []
    engine.run(lambda record: replayed.append(json.loads(line_without_causes(record))))
    steps = lines_of(run.with_suffix(".steps.jsonl"))

    assert steps
    for step in (*steps, *replayed):
        del step["free_blocks"]  # the fake has one block a request
        step.get("launched", {}).pop("free_blocks", None)
        for entry in step["emitted"]:
            del entry["text"]
        step.pop("start", None)
        step.pop("duration", None)
    assert steps == replayed


def test_a_record_has_what_its_request_asked_for(model: ServedModel, tmp_path: Path) -> None:
    run = recorded(model, tmp_path, ("Hello", {"max_tokens": 7, "min_tokens": 1, "stop": ["zzz"]}))
    (record,) = lines_of(run)

    assert record == {
        "id": "r1",
        "prompt": "Hello",
        "response": " world!",
        "prompt_token_ids": list(model.encode("Hello")),
        "response_token_ids": list(model.encode(" world!")),
        "max_tokens": 7,
        "min_tokens": 1,
        "stop": ["zzz"],
        "arrival_time": 0.0,
    }


@pytest.mark.parametrize("content", ["hashes", "lengths"])
def test_lengths_and_hashes_reveal_no_content(model: ServedModel, tmp_path: Path, content: str) -> None:
    run = recorded(model, tmp_path, ("StopCase", {"stop": ["STOP"]}), record_content=content)
    (record,) = lines_of(run)
    steps = lines_of(run.with_suffix(".steps.jsonl"))

    allowed = {"id", "input_length", "output_length", "max_tokens", "arrival_time"}
    assert record.keys() == allowed | ({"hash_ids", "hash_block_size"} if content == "hashes" else set())
    assert {(each["token_id"], each["text"]) for step in steps for each in step["emitted"]} == {(None, None)}
    assert "STOP" not in run.with_suffix(".steps.jsonl").read_text()


def test_hashes_name_equal_prefixes_alike_and_differently_in_every_recording() -> None:
    hashes, others = PromptHashes(2), PromptHashes(2)
    first, second = hashes([1, 2, 3, 4, 5]), hashes([1, 2, 3, 9])

    assert first == hashes([1, 2, 3, 4, 5])
    assert [len(first), len(second)] == [3, 2]
    assert first[0] == second[0]
    assert not {*first[1:]} & {*second[1:]}
    assert not {*first} & {*others([1, 2, 3, 4, 5])}


def test_a_trace_is_in_the_order_of_arrival_with_the_steps_of_arrival(
    model: ServedModel, tmp_path: Path
) -> None:
    """The second request ends before the first, and the third comes while the first runs."""
    run = tmp_path / "run.jsonl"
    engine = Engine(model, MILESTONE, record=str(run), record_arrivals="steps")
    engine.add("a", "StopCase")
    engine.add("b", "Hi", max_tokens=1)
    engine.step()
    engine.step()
    engine.add("c", "Hello")
    engine.run()
    records = lines_of(run)

    assert [record["prompt"] for record in records] == ["StopCase", "Hi", "Hello"]
    assert [record.get("arrival_step", 0) for record in records] == [0, 0, 2]


def test_requests_that_run_when_the_engine_stops_have_the_tokens_so_far(
    model: ServedModel, tmp_path: Path
) -> None:
    run = tmp_path / "run.jsonl"
    engine = Engine(model, MILESTONE, record=str(run))
    engine.add("a", "StopCase")
    engine.step()
    engine.step()
    engine.add("b", "Hello")
    engine.scheduler.shutdown()
    (record,) = lines_of(run)

    assert (len(record["response_token_ids"]), record["max_tokens"]) == (2, 2)
    assert len(lines_of(run.with_suffix(".steps.jsonl"))) == 2


def test_a_request_that_its_client_dropped_has_the_tokens_so_far(model: ServedModel, tmp_path: Path) -> None:
    run = tmp_path / "run.jsonl"
    engine = Engine(model, MILESTONE, record=str(run))
    engine.add("a", "StopCase")
    engine.step()
    engine.scheduler.finish_requests("a", fake_vllm.Status.FINISHED_ABORTED)
    engine.run()
    (record,) = lines_of(run)
    (step,) = lines_of(run.with_suffix(".steps.jsonl"))

    assert (len(record["response_token_ids"]), record["max_tokens"]) == (1, 1)
    assert step["finished"] == [{"id": "r1", "finish_reason": "abort", "stop_reason": None}]


# ---- Durations


def measured(times: StepTimes, *events: tuple[str, int]) -> list[tuple[float, float]]:
    """Return start and duration, in nanoseconds, of the steps that these events make."""
    steps: list[tuple[float, float]] = []
    for event, moment in events:
        if event == "plan":
            times.planned(moment)
        elif event == "output":
            start, duration = times.computed(moment)
            steps.append((round(start * 1e9), round(duration * 1e9)))
        else:
            times.idle()
    return steps


def test_steps_of_a_busy_engine_follow_one_another_without_gaps() -> None:
    times = StepTimes(async_scheduling=False)
    times.origin = 100

    assert measured(
        times, ("plan", 110), ("output", 150), ("plan", 155), ("output", 190), ("plan", 200), ("output", 220)
    ) == [(10, 40), (50, 40), (90, 30)]


def test_after_an_idle_time_a_step_begins_with_its_plan() -> None:
    times = StepTimes(async_scheduling=False)

    assert measured(times, ("plan", 10), ("output", 50), ("idle", 50), ("plan", 90), ("output", 120)) == [
        (10, 40),
        (90, 30),
    ]


def test_asynchronous_steps_last_from_output_to_output() -> None:
    """Step 1 is planned while step 0 runs; step 3 comes after an idle time."""
    times = StepTimes(async_scheduling=True)

    assert measured(
        times,
        ("plan", 10),
        ("plan", 12),
        ("output", 50),
        ("plan", 51),
        ("output", 90),
        ("output", 95),
        ("idle", 95),
        ("plan", 200),
        ("output", 230),
    ) == [(10, 40), (50, 40), (90, 5), (200, 30)]


# ---- Files and the thread that writes them


class FullDisk:
    """A file that takes a number of bytes, and then no more."""

    def __init__(self, size: int) -> None:
        self.content = b""
        self.size = size

    def write(self, block: memoryview) -> int:
        if not self.size:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = bytes(block[: self.size])
        self.content += taken
        self.size -= len(taken)
        return len(taken)

    def truncate(self, size: int) -> None:
        self.content = self.content[:size]


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    file = LineFile(str(tmp_path / "run.jsonl"))
    file._file.close()
    disk = FullDisk(17)
    file._file = disk  # type: ignore[assignment]
    file.write(b"first\n")
    file.flush()
    file.write(b"second\n")
    file.write(b"third\n")
    with pytest.raises(OSError, match="No space left"):
        file.flush()

    assert disk.content == b"first\nsecond\n"


class Notes:
    """A recorder that keeps what it is called with."""

    def __init__(self, fails: Exception | None = None) -> None:
        self.calls: list[str] = []
        self._fails = fails

    def aborted(self, request_ids: list[str], counts: Counts) -> None:
        self.calls += request_ids

    def flush(self) -> None:
        if self._fails and self.calls:
            raise self._fails

    def close(self, alive: list[str], counts: Counts) -> None:
        self.calls.append("closed")


NONE = Counts(0, 0, 0)


def test_a_thread_records_in_order_and_closing_waits_for_it() -> None:
    notes = Notes()
    log = BackgroundLog(notes, print, interval=60)  # type: ignore[arg-type]
    log.aborted(["a"], NONE)
    log.aborted(["b"], NONE)
    log.close([], NONE)

    assert notes.calls == ["a", "b", "closed"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "run.jsonl"), "run.jsonl: No space left on device"),
        (ValueError("a bug"), "ValueError: a bug"),
    ],
)
def test_an_error_ends_the_recording_and_not_the_engine(error: Exception, message: str) -> None:
    reported: list[str] = []
    notes = Notes(error)
    log = BackgroundLog(notes, reported.append, interval=0.001)  # type: ignore[arg-type]
    log.aborted(["a"], NONE)
    log._thread.join(60)
    log.aborted(["b"], NONE)
    log.close([], NONE)

    assert notes.calls == ["a"]
    assert len(reported) == 1
    assert reported[0].startswith("recording ended at an error: ")
    assert reported[0].endswith(message)


# ---- Settings


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"sim_record": 3}, "sim_record is 3; must be the name of a file"),
        ({"sim_record": "run.jsonl.gz"}, "a recording is not compressed, so name a .jsonl file"),
        ({"sim_record": "r", "sim_record_content": "all"}, "must be one of text, token-ids, hashes, lengths"),
        ({"sim_record": "r", "sim_record_arrivals": "no"}, "must be one of time, steps"),
        ({"sim_record_content": "text"}, "sim_record_content is set, and sim_record is not"),
        ({"sim_recording": "r"}, "sim_recording is not a setting of a recording; it knows sim_record,"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RecordSettings.from_additional_config(config)


def test_no_setting_records_nothing() -> None:
    assert RecordSettings.from_additional_config({"sim_trace": "t", 3: 4}) is None


@pytest.mark.parametrize("name", ["run.jsonl", "run.steps.jsonl", "run.profile.toml"])
def test_a_recording_overwrites_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(ConfigError, match=f"{name}' exists; name another file, or remove it"):
        RecordSettings(trace=str(tmp_path / "run.jsonl")).check_files()

    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run.jsonl' cannot be written: No such file or directory"):
        RecordSettings(trace=str(tmp_path / "none" / "run.jsonl")).check_files()


def config_of(**fields: Any) -> Any:
    from vllm.engine.arg_utils import AsyncEngineArgs

    plugin.register()
    return AsyncEngineArgs(**fields).create_engine_config()


@pytest.mark.parametrize(
    ("async_scheduling", "scheduler"),
    [(False, "tracesim.vllm.RecordingScheduler"), (True, "tracesim.vllm.AsyncRecordingScheduler")],
)
def test_the_option_chooses_the_scheduler_that_records(
    tmp_path: Path, async_scheduling: bool, scheduler: str
) -> None:
    config = config_of(sim_record_path=tmp_path / "run.jsonl", async_scheduling=async_scheduling)

    assert config.scheduler_config.scheduler_cls == scheduler
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data_parallel_size": 2}, "data_parallel_size is 2; must be 1 to record"),
        ({"pipeline_parallel_size": 2}, "pipeline_parallel_size is 2; must be 1 to record"),
        ({"speculative_config": {"num_speculative_tokens": 2}}, "speculative_config must be unset to record"),
        ({"scheduler_cls": "mine.Scheduler"}, "scheduler_cls is 'mine.Scheduler'; must be unset"),
    ],
)
def test_what_has_no_steps_of_its_own_is_refused(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(sim_record_path=tmp_path / "run.jsonl", **fields)


def test_tensor_parallel_workers_can_be_recorded(tmp_path: Path) -> None:
    """They share one scheduler."""
    config = config_of(sim_record_path=tmp_path / "run.jsonl", tensor_parallel_size=2)

    assert config.scheduler_config.scheduler_cls == "tracesim.vllm.RecordingScheduler"
