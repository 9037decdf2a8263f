"""tracesim inside vLLM, against a small fake of vLLM's types; `test_vllm_live.py` has the real thing."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import fake_vllm
from fake_engine import Engine, ServedModel, a_trace
from fake_vllm import FakeRequest, ValidationError, params
from paths import MILESTONE
from steps import line_without_causes
from tracesim import EngineArgs, LLMEngine, TraceError, load_tokenizer
from tracesim.errors import ConfigError
from tracesim.requests.batch import Batch
from tracesim.timing.clock import PER_SECOND, Clock
from tracesim.trace.reader import read_records
from tracesim.vllm import plugin
from tracesim.vllm.pace import DueFuture, Pacer
from tracesim.vllm.settings import SimSettings

pytestmark = pytest.mark.usefixtures("vllm")


# ---- Answers


def test_a_prompt_is_answered_as_recorded_and_then_ends(model: ServedModel) -> None:
    engine = Engine(model, MILESTONE)

    assert engine.answer("Hello") == " world!"
    assert engine.requests["request 0"].output[-1] == model.eos_token_id


def test_a_chat_of_one_message_is_found_after_the_template(model: ServedModel) -> None:
    assert Engine(model, MILESTONE).answer("user: Hello\n\nassistant: ") == " world!"


def test_recordings_of_a_prompt_are_given_in_turn_and_then_again(model: ServedModel, tmp_path: Path) -> None:
    trace = a_trace(tmp_path, *({"prompt": "Hi", "response": response} for response in ("one", "two")))
    engine = Engine(model, trace)

    assert [engine.answer("Hi") for _ in range(3)] == ["one", "two", "one"]


def test_token_ids_of_the_trace_are_answered_as_they_are(model: ServedModel, tmp_path: Path) -> None:
    prompt = model.encode("Hi")
    trace = a_trace(tmp_path, {"prompt_token_ids": prompt, "response_token_ids": [7, 8]})
    engine = Engine(model, trace)
    engine.answer("Hi")

    assert engine.requests["request 0"].output == [7, 8, model.eos_token_id]


def test_a_preempted_request_continues_where_it_was(model: ServedModel) -> None:
    engine = Engine(model, MILESTONE)
    engine.add("a", "StopCase")
    engine.step()
    engine.step()
    engine.scheduler.preempt_next = "a"
    engine.run()

    assert engine.text("a") == " hello STOP and more"


def test_past_its_end_a_recording_only_ends_again(model: ServedModel) -> None:
    """As with `ignore_eos`: vLLM asks for more than there is."""
    engine = Engine(model, MILESTONE)
    engine.scheduler.eos = -1
    engine.answer("Hello", max_tokens=4)

    assert engine.requests["request 0"].output[2:] == [model.eos_token_id] * 2


def test_an_unknown_prompt_fails_alone(model: ServedModel) -> None:
    engine = Engine(model, MILESTONE)
    engine.add("known", "Hello")
    engine.add("unknown", "Hallo")
    engine.run()

    assert engine.text("known") == " world!"
    assert engine.failures == {
        "unknown": "no recorded response has the prompt 'Hallo'; the nearest is 'Hello'"
    }


def test_what_no_recording_can_give_fails_alone_where_no_front_end_refused_it(model: ServedModel) -> None:
    engine = Engine(model, MILESTONE)
    engine.add("biased", "Hello", logit_bias={1: 2.0})
    engine.add("known", "Hello")
    engine.run()

    assert engine.failures == {"biased": "logit_bias cannot be simulated: what was recorded cannot be biased"}
    assert engine.text("known") == " world!"


def test_what_was_not_recorded_has_the_default_answer(model: ServedModel) -> None:
    engine = Engine(model, MILESTONE, default="I do not know.")

    assert [engine.answer(prompt) for prompt in ("Hallo", "Hello")] == ["I do not know.", " world!"]


@pytest.mark.parametrize(
    "chat",
    [
        "user: Hi\n\nassistant: there\n\nuser: Hello\n\nassistant: ",
        "system: Be brief.\n\nuser: Hello\n\nassistant: ",
    ],
)
def test_a_chat_can_be_found_by_its_last_user_message(model: ServedModel, chat: str) -> None:
    assert Engine(model, MILESTONE, match="last-user").answer(chat) == " world!"


def test_a_last_message_that_quotes_the_template_is_found(model: ServedModel, tmp_path: Path) -> None:
    prompt = "What does user: mean?"
    engine = Engine(model, a_trace(tmp_path, {"prompt": prompt, "response": "you"}), match="last-user")

    assert engine.answer(f"system: Be brief.\n\nuser: {prompt}\n\nassistant: ") == "you"


def test_nothing_of_a_request_that_is_over_is_kept(model: ServedModel) -> None:
    engine = Engine(model, MILESTONE)
    engine.answer("Hello")
    engine.step()

    assert engine.executor._answers.requests == {}


# ---- The log


def logged(
    model: ServedModel, tmp_path: Path, *requests: tuple[str, dict[str, Any]], async_scheduling: bool = False
) -> list[dict[str, Any]]:
    log = tmp_path / "steps.jsonl"
    engine = Engine(model, MILESTONE, log=str(log), async_scheduling=async_scheduling)
    for number, (prompt, fields) in enumerate(requests):
        engine.add(f"{number}-random", prompt, **fields)
    engine.run()
    return [json.loads(line) for line in log.read_bytes().splitlines()]


@pytest.mark.parametrize("async_scheduling", [False, True])
def test_the_log_is_what_a_replay_with_an_eos_step_writes(
    model: ServedModel, tmp_path: Path, async_scheduling: bool
) -> None:
    """vllm-v1 schedules all requests at once, as the fake scheduler does. One ends in each way.

    With asynchronous scheduling the last batch is computed in vain, and nobody waits for its output.
    """
    steps = logged(
        model,
        tmp_path,
        ("Hello", {}),
        ("Hi", {"max_tokens": 3}),
        ("StopCase", {"stop": ["STOP"]}),
        async_scheduling=async_scheduling,
    )
    settings: dict[str, Any] = {"engine": "vllm-v1", "async_scheduling": async_scheduling}
    engine = LLMEngine.from_engine_args(EngineArgs(sim_trace_path=MILESTONE, eos_step=True, **settings))
    for record in read_records([MILESTONE]):
        engine.add_record(record)
    replayed: list[dict[str, Any]] = []
    engine.run(lambda record: replayed.append(json.loads(line_without_causes(record))))

    for step in (*steps, *replayed):
        del step["free_blocks"]  # the fake has one block a request
        step.get("launched", {}).pop("free_blocks", None)
    assert steps == replayed
    assert steps[-1].get("discarded") == (["r1", "r3"] if async_scheduling else None)


def test_a_server_that_finds_a_stop_string_late_computes_in_vain_whatever_is_in_flight(
    model: ServedModel, tmp_path: Path
) -> None:
    """The abort comes after two more plans, before the output of the first of them is taken in."""
    log = tmp_path / "steps.jsonl"
    engine = Engine(model, MILESTONE, log=str(log), async_scheduling=True)
    engine.add("a", "StopCase", stop=["STOP"])
    engine.requests["a"].sampling_params.stop = []  # the front end of this engine finds nothing
    while len(engine.requests["a"].output) < 3:
        engine.step()
    plan = engine.scheduler.schedule()
    engine.executor.execute_model(plan)
    engine.batches.append((engine.executor.sample_tokens(None, non_block=True), plan))
    engine.scheduler.finish_requests(["a"], fake_vllm.Status.FINISHED_ABORTED)
    while engine.batches or engine.scheduler.has_requests():
        engine.step()
    engine.scheduler.shutdown()
    steps = [json.loads(line) for line in log.read_bytes().splitlines()]

    assert [step["discarded"] for step in steps] == [[], [], [], ["r3"], ["r3"]]
    assert [step["finished"] for step in steps] == [
        [],
        [],
        [],
        [{"id": "r3", "finish_reason": "stop", "stop_reason": "STOP"}],
        [],
    ]


def test_a_request_that_its_client_dropped_is_aborted_in_the_log(model: ServedModel, tmp_path: Path) -> None:
    log = tmp_path / "steps.jsonl"
    engine = Engine(model, MILESTONE, log=str(log))
    engine.add("a", "Hello")
    engine.step()
    engine.scheduler.finish_requests("a", fake_vllm.Status.FINISHED_ABORTED)
    engine.run()
    (step,) = map(json.loads, log.read_bytes().splitlines())

    assert step["finished"] == [{"id": "r1", "finish_reason": "abort", "stop_reason": None}]
    assert (step["running"], step["free_blocks"]) == (0, 9)


def test_a_stop_string_that_a_server_finds_late_still_ends_its_request(
    model: ServedModel, tmp_path: Path
) -> None:
    """The abort comes while the next step is at work: the request is scheduled once more, in vain."""
    log = tmp_path / "steps.jsonl"
    engine = Engine(model, MILESTONE, log=str(log))
    engine.add("a", "StopCase")
    engine.requests["a"].sampling_params.stop = []
    engine.scheduler.add_request(FakeRequest("b", model.encode("StopCase"), params(stop=["STOP"])))
    while len(engine.scheduler.running) != 2 or len(engine.scheduler.running[1].output) < 3:
        plan = engine.scheduler.schedule()
        engine.executor.execute_model(plan)
        engine.scheduler.update_from_output(plan, engine.executor.sample_tokens(None))
    plan = engine.scheduler.schedule()
    engine.executor.execute_model(plan)
    for _ in range(2):  # vLLM hands each abort on twice
        engine.scheduler.finish_requests(["b"], fake_vllm.Status.FINISHED_ABORTED)
    engine.scheduler.update_from_output(plan, engine.executor.sample_tokens(None))
    engine.run()
    steps = [json.loads(line) for line in log.read_bytes().splitlines()]

    assert [step["finished"] for step in steps if step["finished"]] == [
        [{"id": "r3#2", "finish_reason": "stop", "stop_reason": "STOP"}],
        [{"id": "r3", "finish_reason": "stop", "stop_reason": None}],
    ]
    assert [entry["id"] for entry in steps[3]["decode"]] == ["r3", "r3#2"]


def test_a_recording_that_is_given_again_has_a_name_of_its_own(model: ServedModel, tmp_path: Path) -> None:
    steps = logged(model, tmp_path, ("Hello", {}), ("Hello", {}))

    assert [entry["id"] for entry in steps[0]["prefill"]] == ["r1", "r1#2"]


# ---- Settings and pace


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, "sim_trace is missing"),
        (
            {"sim_trace": "t", "sim_speed": 1},
            "sim_speed is not a setting of the simulator; it knows sim_trace,",
        ),
        (
            {"sim_trace": "t", "sim_match": "suffix"},
            "sim_match is 'suffix'; must be one of prompt, last-user",
        ),
        ({"sim_trace": "t", "sim_default": 3}, "sim_default is 3; must be a string"),
        (
            {"sim_trace": "t", "sim_step_time": "20m"},
            "sim_step_time is '20m'; must be a duration, such as 20ms",
        ),
        ({"sim_trace": "t", "sim_step_time": "-1ms"}, "sim_step_time is '-1ms'"),
        ({"sim_trace": "t", "sim_clock": "fast"}, "sim_clock is 'fast'; must be steps, constant:20ms"),
        ({"sim_trace": "t", "sim_clock": "constant:1s", "sim_step_time": "1s"}, "give one of them"),
        (
            {"sim_trace": "t", "sim_async_scheduling": "yes"},
            "sim_async_scheduling is 'yes'; must be true or false",
        ),
    ],
)
def test_a_setting_that_does_not_fit_is_named(config: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        SimSettings.from_additional_config(config)


def test_a_log_that_cannot_be_written_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    settings = SimSettings(trace="t", log=str(tmp_path / "none" / "steps.jsonl"))
    with pytest.raises(ConfigError, match=r"sim_log is .*, which cannot be written: No such file"):
        settings.check_log()


def test_settings_of_others_are_ignored() -> None:
    config = {"sim_trace": "t", "sim_step_time": "1.5ms", "flavour": "plain"}

    assert SimSettings.from_additional_config(config) == SimSettings(
        trace="t", clock=Clock(15 * PER_SECOND // 10_000)
    )


class Watch:
    """A time that passes when somebody sleeps."""

    def __init__(self, *, async_scheduling: bool) -> None:
        self.now = 0.0
        clock = Clock(base=15 * PER_SECOND, decode=PER_SECOND)
        self.pacer = Pacer(
            clock, async_scheduling=async_scheduling, now=lambda: self.now, sleep=self.pass_time
        )

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def step(self) -> DueFuture[str]:
        """A step of 20 s: of 15, and 1 for each of 5 that decode."""
        due = self.pacer.due(Batch(9, 5, 99, 36))
        return DueFuture("tokens", due, self.pacer)


def test_a_busy_engine_keeps_the_pace_and_a_pause_is_not_made_up_for() -> None:
    """After the steps there are 5 s of work, 7 s, then 100 s of nothing."""
    watch = Watch(async_scheduling=False)
    ends = []
    for work in (5.0, 7.0, 100.0, 0.0):
        watch.step().result()
        ends.append(watch.now)
        watch.pass_time(work)

    assert ends == [20.0, 40.0, 60.0, 180.0]


def test_batches_in_flight_follow_one_another_and_their_tokens_come_at_the_end_of_each() -> None:
    """The second is planned when the first begins, and a pause, however short, is not made up for."""
    watch = Watch(async_scheduling=True)
    first, second = watch.step(), watch.step()

    assert (first.result(), watch.now) == ("tokens", 20.0)
    with pytest.raises(FutureTimeoutError):
        second.result(timeout=5)
    assert (second.result(timeout=15), watch.now) == ("tokens", 40.0)
    watch.pass_time(1)
    assert (watch.step().result(), watch.now) == ("tokens", 61.0)


def test_without_a_clock_nothing_waits() -> None:
    pacer = Pacer(None, sleep=lambda _: pytest.fail("it sleeps"))
    future = DueFuture("tokens", pacer.due(Batch(9, 5, 99, 36)), pacer)

    assert (future.done(), future.result(), future.done()) == (False, "tokens", True)


# ---- The plugin


def engine_args(**fields: Any) -> Any:
    from vllm.engine.arg_utils import AsyncEngineArgs

    plugin.register()
    return AsyncEngineArgs(**fields)


def test_the_options_choose_the_executor_and_reach_the_engine() -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs, EngineArgs

    plugin.register()
    plugin.register()
    parser = EngineArgs.add_cli_args(argparse.ArgumentParser())
    given = parser.parse_args(["--use-simulator", "--sim-trace", str(MILESTONE)])
    args = AsyncEngineArgs(use_simulator=given.use_simulator, sim_trace_path=given.sim_trace_path)
    args.create_engine_config()

    assert args.distributed_executor_backend == "tracesim.vllm.TraceExecutor"
    assert args.additional_config == {"sim_trace": str(MILESTONE), "sim_async_scheduling": True}
    assert {"use_simulator", "sim_trace_path"} < AsyncEngineArgs.__dataclass_fields__.keys()


@pytest.mark.parametrize(
    ("wanted", "given", "used"),
    [(None, {}, True), (True, {}, True), (False, {}, False), (None, {"sim_async_scheduling": False}, False)],
)
def test_vllms_own_option_switches_asynchronous_scheduling(
    wanted: bool | None, given: dict[str, Any], used: bool
) -> None:
    """It is on by default, as on a GPU, and reaches the engine on a CPU too, where vLLM switches it off."""
    args = engine_args(
        use_simulator=True,
        sim_trace_path=str(MILESTONE),
        async_scheduling=wanted,
        additional_config=given,
    )
    args.create_engine_config()

    assert args.additional_config["sim_async_scheduling"] is used


def test_nothing_changes_without_the_simulator() -> None:
    args = engine_args(model="m", enable_log_requests=True)
    args.create_engine_config()

    assert (args.use_simulator, args.distributed_executor_backend, args.additional_config) == (
        False,
        None,
        {},
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"sim_trace_path": "t"}, "use_simulator is not"),
        ({"use_simulator": True}, "sim_trace is missing"),
        ({"use_simulator": True, "distributed_executor_backend": "ray"}, "use_simulator chooses it"),
        (
            {"use_simulator": True, "sim_trace_path": MILESTONE, "tensor_parallel_size": 2},
            "pipeline_parallel_size and data_parallel_size must be 1",
        ),
    ],
)
def test_options_in_conflict_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        engine_args(**fields).create_engine_config()


def test_a_trace_with_problems_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="missing-file"):
        engine_args(use_simulator=True, sim_trace_path=str(tmp_path / "none")).create_engine_config()


def test_a_vllm_without_what_is_needed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(fake_vllm.FakeExecutor, "sample_tokens")
    with pytest.raises(ConfigError, match=r"does not fit vLLM 0.0-fake: it has no Executor.sample_tokens"):
        engine_args(use_simulator=True, sim_trace_path=str(MILESTONE)).create_engine_config()


def processed(prompt: list[int], sampling_params: Any, backend: Any = plugin.EXECUTOR) -> Any:
    """A request as it comes out of vLLM's front end."""
    from vllm.v1.engine.input_processor import InputProcessor

    plugin.register()
    tokenizer = SimpleNamespace(tokenizer="m", tokenizer_revision=None, trust_remote_code=False)
    processor = InputProcessor(
        SimpleNamespace(
            parallel_config=SimpleNamespace(distributed_executor_backend=backend),
            additional_config={"sim_trace": str(MILESTONE)},
            model_config=tokenizer,
        )
    )
    return processor.process_inputs("id", prompt, sampling_params).sampling_params


def test_limits_of_the_trace_hold_where_the_client_gives_none(model: ServedModel) -> None:
    stopped = processed(model.encode("StopCase"), params())

    assert (stopped.stop, stopped.output_text_buffer_length) == (["STOP"], 3)
    assert processed(model.encode("StopCase"), params(stop=["x"])).stop == ["x"]
    assert processed(model.encode("Hi"), params()).max_tokens == 3
    assert processed(model.encode("Hi"), params(max_tokens=2)).max_tokens == 2


@pytest.mark.parametrize(
    ("prompt", "fields", "says"),
    [
        ("Hallo", {}, "the nearest is 'Hello'"),
        ("Hello", {"logprobs": 0}, "logprobs cannot be simulated: a recording has no logprobs"),
        ("user: Helo\n\nassistant: ", {}, "has the prompt 'Helo'; the nearest is 'Hello'"),
        ("user: A\n\nassistant: B\n\nuser: Hello\n\nassistant: ", {}, "set sim_match to last-user"),
        ("Hello", {"structured_outputs": object()}, "structured_outputs cannot be simulated"),
    ],
)
def test_the_front_end_refuses_what_has_no_answer(
    model: ServedModel, prompt: str, fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValidationError, match=says):
        processed(model.encode(prompt), params(**fields))

    assert processed(model.encode(prompt), params(**fields), backend="uni") is not None


# ---- The model folder, and what an import costs


def test_the_model_folder_spells_text_as_the_embedded_vocabulary(folder: Path) -> None:
    texts = [
        " Hello, world!\n\n\tx = 1",
        "日本語のテキスト",
        "naïve 🤷🏽‍♀️ a b  c   d",
        "<|endoftext|>",
        "12345678",
    ]
    embedded, served = load_tokenizer(), load_tokenizer(str(folder))

    assert list(map(list, served.encode_batch(texts))) == list(map(list, embedded.encode_batch(texts)))


def test_to_import_tracesim_imports_no_vllm() -> None:
    code = "import sys, tracesim.vllm.plugin; print('vllm' in sys.modules, 'torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout == "False False\n"
