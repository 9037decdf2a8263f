"""The public names as a program uses them: mypy checks the types here, and pytest that the code runs."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from typing_extensions import assert_type

import tracesim
from paths import MILESTONE
from tracesim import (
    ArrivalProcess,
    Clock,
    ConfigError,
    Cursor,
    EngineArgs,
    EngineConfig,
    LLMEngine,
    Metrics,
    RecordedResponse,
    RequestError,
    RequestOutput,
    SamplingParams,
    ScheduledTokens,
    Slo,
    StepRecord,
    Tokenizer,
    TraceError,
    TraceProblem,
    TraceRecord,
    TracesimError,
    TraceSimulator,
    load_tokenizer,
    measure_run,
    parse_arrivals,
    parse_clock,
    parse_slo,
    read_records,
    read_trace,
)


def test_an_engine_that_is_stepped() -> None:
    args = EngineArgs(sim_trace_path=MILESTONE, tokenizer="char", engine="vllm-v1", max_num_seqs=2)
    assert_type(args.max_num_seqs, int | None)
    engine = assert_type(LLMEngine.from_engine_args(args), LLMEngine)
    engine.add_request("r2", "Hi", SamplingParams(max_tokens=3, stop=["x"]))
    while engine.has_unfinished_requests():
        for output in assert_type(engine.step(), list[RequestOutput]):
            completion = output.outputs[0]
            assert_type(completion.text, str)
            assert_type(completion.finish_reason, str | None)

    assert engine.get_num_unfinished_requests() == 0


def test_an_engine_that_runs_a_trace() -> None:
    records = assert_type(read_records([MILESTONE]), list[TraceRecord])
    tokenizer = assert_type(load_tokenizer("char"), Tokenizer)
    config = assert_type(EngineArgs(engine="vllm-v0").create_engine_config(), EngineConfig)
    assert_type(config.max_num_seqs, int)
    assert_type(config.watermark, float)
    assert_type(config.max_model_len, int | None)
    assert_type(config.engine, Literal["simple", "vllm-v0", "vllm-v1"])
    clock = assert_type(parse_clock("constant:20ms"), Clock | None)
    arrivals = assert_type(parse_arrivals("asap"), ArrivalProcess)
    engine = LLMEngine(config, TraceSimulator([], tokenizer), clock=clock, arrivals=arrivals)
    engine.add_records(records)
    steps: list[StepRecord] = []
    engine.run(steps.append)
    assert_type(steps[0].prefill, Sequence[ScheduledTokens])
    assert_type(steps[0].free_blocks, int | None)
    slo = assert_type(parse_slo("ttft=1s"), Slo)
    metrics = assert_type(measure_run(engine, slo), Metrics | None)

    assert metrics is not None
    assert metrics.goodput is not None


def test_errors() -> None:
    """All of them are a TracesimError, and have attributes with types."""
    problems = [each for each in read_trace([MILESTONE]) if not isinstance(each, TraceRecord)]
    assert_type(problems, list[TraceProblem])
    try:
        EngineConfig(max_num_seqs=0)
    except ConfigError as error:
        assert_type(error.setting, str | None)
    try:
        read_records(["no/such/file"])
    except TraceError as error:
        assert_type(error.problems, tuple[TraceProblem, ...])

    assert issubclass(RequestError, TracesimError)


def test_a_recorded_response() -> None:
    simulator = TraceSimulator(read_records([MILESTONE]), load_tokenizer("char"))
    tokenized = simulator.tokenize([simulator.find("Hi")])
    response = assert_type(simulator.response_of(tokenized[0], None, None), RecordedResponse)
    assert_type(response.num_tokens, int)

    assert Cursor is not None


def test_every_public_name_is_imported_where_its_type_is_declared() -> None:
    """A name is in the table of modules, and imported from the same module for type checkers."""
    source = Path(tracesim.__file__).read_text(encoding="utf-8")
    block = next(node for node in ast.parse(source).body if isinstance(node, ast.If))
    declared = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    modules: Mapping[str, str] = {name: getattr(tracesim, name).__module__ for name in tracesim.__all__}

    assert sorted(declared) == sorted(tracesim.__all__)
    assert [name for name in tracesim.__all__ if name not in dir(tracesim)] == []
    assert declared == modules
