"""vLLM's plugin `tracesim`: `--use-simulator`, `--sim-trace` and `--sim-record` as vLLM's own options.

vLLM calls `register` in each of its processes, before it parses a command line. The call is cheap and
changes nothing unless one of them is used. Code that creates `EngineArgs` or `LLM` with `use_simulator=True`
or `sim_record_path` before vLLM has loaded its plugins must call it first.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Final

from tracesim.errors import ConfigError, RequestError
from tracesim.trace.reader import read_records
from tracesim.vllm.record_settings import RecordSettings, refuse_what_has_no_steps
from tracesim.vllm.settings import SimSettings, refuse_what_has_no_meaning

EXECUTOR: Final = "tracesim.vllm.TraceExecutor"

_RECORDING_SCHEDULERS: Final = ("tracesim.vllm.RecordingScheduler", "tracesim.vllm.AsyncRecordingScheduler")
"""Those for synchronous and for asynchronous scheduling."""

_FIELDS: Final[Mapping[str, Any]] = {
    "use_simulator": False,
    "sim_trace_path": None,
    "sim_record_path": None,
}
"""The fields that engine args get, with their defaults."""

_MARK: Final = "_of_tracesim"


def register() -> None:
    """Add the simulator to vLLM's engine args and front end; further calls in a process do nothing."""
    from vllm.engine.arg_utils import AsyncEngineArgs, EngineArgs
    from vllm.v1.engine.input_processor import InputProcessor

    def add_cli_args(original: Callable[[Any], Any], parser: Any) -> Any:
        parser = original(parser)
        group = parser.add_argument_group(
            "tracesim", "Answers from a recorded trace, without a model, or a recording of a real model's."
        )
        group.add_argument("--use-simulator", action="store_true", help="Answer from --sim-trace.")
        group.add_argument(
            "--sim-trace", dest="sim_trace_path", metavar="PATH", help="The trace to answer from."
        )
        group.add_argument(
            "--sim-record", dest="sim_record_path", metavar="FILE", help="Record a trace and its steps."
        )
        return parser

    for engine_args in (EngineArgs, AsyncEngineArgs):
        _add_fields(engine_args)
    _replace(EngineArgs, "add_cli_args", add_cli_args, staticmethod)
    _replace(EngineArgs, "create_engine_config", _create_engine_config)
    _answer_requests(InputProcessor)


def _replace(owner: type[Any], name: str, replacement: Callable[..., Any], kind: Any = lambda it: it) -> None:
    """Replace a method by `replacement`, whose first argument is the original; do nothing a second time."""
    original = getattr(owner, name)
    if getattr(original, _MARK, False):
        return

    @functools.wraps(original)
    def replaced(*args: Any, **kwargs: Any) -> Any:
        return replacement(original, *args, **kwargs)

    setattr(replaced, _MARK, True)
    setattr(owner, name, kind(replaced))


def _add_fields(engine_args: type[Any]) -> None:
    """Add two fields to an existing dataclass: vLLM copies engine args field by field."""

    def init(original: Callable[..., None], self: Any, *args: Any, **kwargs: Any) -> None:
        for name, default in _FIELDS.items():
            setattr(self, name, kwargs.pop(name, default))
        original(self, *args, **kwargs)

    for name, default in _FIELDS.items():
        if name not in engine_args.__dataclass_fields__:
            (field,) = dataclasses.fields(dataclasses.make_dataclass("_", [(name, Any, default)]))
            engine_args.__dataclass_fields__ = {**engine_args.__dataclass_fields__, name: field}
            setattr(engine_args, name, default)
    _replace(engine_args, "__init__", init)


def _create_engine_config(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """Choose executor and scheduler, and report errors here: the engine's own log is far from users."""
    if self.sim_trace_path is not None and not self.use_simulator:
        raise ConfigError(
            "sim_trace_path is set and use_simulator is not; give --use-simulator with --sim-trace"
        )
    if self.sim_record_path is not None:
        _add_to_additional_config(self, sim_record=str(self.sim_record_path))
    recording = RecordSettings.from_additional_config(self.additional_config)
    if self.use_simulator or recording:
        _refuse_unknown_vllm("use_simulator" if self.use_simulator else "sim_record")
    if self.use_simulator:
        _choose_executor(self)
    is_simulated = _is_ours(self.distributed_executor_backend)
    if is_simulated:
        _prepare_simulation(self)
    if recording:
        recording.check_files()
    config = original(self, *args, **kwargs)
    if is_simulated:
        refuse_what_has_no_meaning(config)
    if recording:
        refuse_what_has_no_steps(config)
        if not is_simulated:  # the simulator's executor extends vLLM's scheduler itself
            _choose_scheduler(config.scheduler_config)
    return config


def _choose_scheduler(config: Any) -> None:
    """Let the engine, in its own process, take the scheduler that records."""
    chosen = config.scheduler_cls
    if chosen is not None and chosen not in _RECORDING_SCHEDULERS:
        raise ConfigError(f"scheduler_cls is {chosen!r}; must be unset, as sim_record chooses it")
    config.scheduler_cls = _RECORDING_SCHEDULERS[bool(config.async_scheduling)]


def _refuse_unknown_vllm(setting: str) -> None:
    """Raise ConfigError if this version of vLLM lacks what a setting needs."""
    if missing := _missing_features():
        from vllm import __version__

        raise ConfigError(f"{setting} does not fit vLLM {__version__}: it has no {', '.join(missing)}")


def _choose_executor(args: Any) -> None:
    """Let the engine, in its own process, take the simulator's executor and find the trace."""
    backend = args.distributed_executor_backend
    if backend not in (None, "uni", "mp") and not _is_ours(backend):
        raise ConfigError(
            f"distributed_executor_backend is {backend!r}; must be unset, as use_simulator chooses it"
        )
    args.distributed_executor_backend = EXECUTOR
    if args.sim_trace_path is not None:
        _add_to_additional_config(args, sim_trace=str(args.sim_trace_path))


def _prepare_simulation(args: Any) -> None:
    """Complete and check the settings of the simulator, and read its trace."""
    # vLLM's own option, and its default on a GPU; on a CPU it would be switched off.
    is_async = getattr(args, "async_scheduling", False) is not False
    args.additional_config = {"sim_async_scheduling": is_async, **(args.additional_config or {})}
    settings = SimSettings.from_additional_config(args.additional_config)
    read_records([settings.trace])
    settings.check_log()


def _add_to_additional_config(args: Any, **settings: str) -> None:
    args.additional_config = {**(args.additional_config or {}), **settings}


def _missing_features() -> list[str]:
    """Return what tracesim needs and this version of vLLM does not have."""
    from vllm.config import VllmConfig
    from vllm.v1.core.sched.output import CachedRequestData
    from vllm.v1.executor.abstract import Executor

    wanted = {
        "VllmConfig.additional_config": "additional_config" in VllmConfig.__dataclass_fields__,
        "Executor.sample_tokens": hasattr(Executor, "sample_tokens"),
        **{
            f"CachedRequestData.{name}": name in CachedRequestData.__dataclass_fields__
            for name in ("num_output_tokens", "resumed_req_ids")
        },
    }
    return [name for name, found in wanted.items() if not found]


def _answer_requests(input_processor: type[Any]) -> None:
    """Give the answers to the front end as well, before it takes a request, and prepare its requests."""

    def init(original: Callable[..., None], self: Any, vllm_config: Any, *args: Any, **kwargs: Any) -> None:
        original(self, vllm_config, *args, **kwargs)
        self.tracesim_answers = None
        if _is_ours(vllm_config.parallel_config.distributed_executor_backend):
            from tracesim.vllm.executor import load_answers
            from tracesim.vllm.served_tokenizer import load_served_tokenizer

            settings = SimSettings.from_additional_config(vllm_config.additional_config)
            tokenizer = load_served_tokenizer(vllm_config.model_config)
            self.tracesim_answers = load_answers(settings, tokenizer)

    def process_inputs(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
        request = original(self, *args, **kwargs)
        if self.tracesim_answers is not None:
            from vllm.exceptions import VLLMValidationError

            from tracesim.vllm.front_end import prepare

            try:
                prepare(request, self.tracesim_answers)
            except RequestError as error:
                raise VLLMValidationError(f"tracesim: {error}") from error
        return request

    _replace(input_processor, "__init__", init)
    _replace(input_processor, "process_inputs", process_inputs)


def _is_ours(backend: object) -> bool:
    """Whether an executor backend, given by name or as a class, is the simulator's."""
    if isinstance(backend, type):
        backend = f"{backend.__module__}.{backend.__qualname__}"
    return backend in (EXECUTOR, "tracesim.vllm.executor.TraceExecutor")
