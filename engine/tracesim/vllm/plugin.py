"""vLLM's plugin `tracesim`: `--use-simulator` and `--sim-trace` on its command line and in its engine args.

vLLM calls `register` in each of its processes, before it parses a command line. The call is cheap and
changes nothing unless the simulator is used. Code that creates `EngineArgs` or `LLM` with
`use_simulator=True` before vLLM has loaded its plugins must call it first.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Final

from tracesim.errors import ConfigError, RequestError
from tracesim.trace.reader import read_records
from tracesim.vllm.settings import SimSettings, refuse_what_has_no_meaning

EXECUTOR: Final = "tracesim.vllm.TraceExecutor"

_FIELDS: Final[Mapping[str, Any]] = {"use_simulator": False, "sim_trace_path": None}
"""The fields that engine args get, with their defaults."""

_MARK: Final = "_of_tracesim"


def register() -> None:
    """Add the simulator to vLLM's engine args and front end; further calls in a process do nothing."""
    from vllm.engine.arg_utils import AsyncEngineArgs, EngineArgs
    from vllm.v1.engine.input_processor import InputProcessor

    def add_cli_args(original: Callable[[Any], Any], parser: Any) -> Any:
        parser = original(parser)
        group = parser.add_argument_group("tracesim", "Answers from a recorded trace; no model is loaded.")
        group.add_argument("--use-simulator", action="store_true", help="Answer from --sim-trace.")
        group.add_argument(
            "--sim-trace", dest="sim_trace_path", metavar="PATH", help="The trace to answer from."
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
    """Choose the executor, and report errors here, where users see them; the engine's own log is far away."""
    if self.sim_trace_path is not None and not self.use_simulator:
        raise ConfigError(
            "sim_trace_path is set and use_simulator is not; give --use-simulator with --sim-trace"
        )
    if self.use_simulator:
        if missing := _missing_features():
            from vllm import __version__

            raise ConfigError(
                f"use_simulator does not fit vLLM {__version__}: it has no {', '.join(missing)}"
            )
        backend = self.distributed_executor_backend
        if backend not in (None, "uni", "mp") and not _is_ours(backend):
            raise ConfigError(
                f"distributed_executor_backend is {backend!r}; must be unset, as use_simulator chooses it"
            )
        # The engine, in its own process, reads these two.
        self.distributed_executor_backend = EXECUTOR
        if self.sim_trace_path is not None:
            given = self.additional_config or {}
            self.additional_config = {**given, "sim_trace": str(self.sim_trace_path)}
    if not _is_ours(self.distributed_executor_backend):
        return original(self, *args, **kwargs)
    # vLLM's own option, and its default on a GPU; on a CPU it would be switched off.
    is_async = getattr(self, "async_scheduling", False) is not False
    self.additional_config = {"sim_async_scheduling": is_async, **(self.additional_config or {})}
    settings = SimSettings.from_additional_config(self.additional_config)
    read_records([settings.trace])
    settings.check_log()
    config = original(self, *args, **kwargs)
    refuse_what_has_no_meaning(config)
    return config


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
            from tracesim.vllm.executor import load_answers, load_served_tokenizer

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
