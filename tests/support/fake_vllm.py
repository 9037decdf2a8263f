"""The few types of vLLM that tracesim touches, with a scheduler that a test can follow by eye."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

CACHE_CONFIG = SimpleNamespace(enable_prefix_caching=False, block_size=16, num_gpu_blocks=9)


class Status(Enum):
    FINISHED_ABORTED = "abort"
    FINISHED_ERROR = "error"


class ValidationError(ValueError):
    """What the server answers with HTTP 400."""


@dataclass
class FakeRequest:
    request_id: str
    prompt_token_ids: list[int]
    sampling_params: Any
    client_index: int = 0
    arrival_time: float = 0.0
    priority: int = 0
    status: Status | None = None
    output: list[int] = field(default_factory=list)
    computed: int = 0
    placeholders: int = 0

    @property
    def num_prompt_tokens(self) -> int:
        return len(self.prompt_token_ids)

    @property
    def num_sampled(self) -> int:
        """The number of output tokens, counting those in flight."""
        return len(self.output) + self.placeholders

    def get_finished_reason(self) -> str:
        assert self.status is not None
        return self.status.value


def params(**fields: Any) -> SimpleNamespace:
    """Sampling parameters as vLLM has them."""
    defaults = {"max_tokens": 100, "min_tokens": 0, "stop": [], "include_stop_str_in_output": False}
    return SimpleNamespace(**{**defaults, **fields})


class FakeScheduler:
    """Everybody at once, whole prompts; one block a request. `preempt_next` is sent back in the next step.

    With asynchronous scheduling a plan counts tokens that are in flight as placeholders, and passes over a
    request that one of them is sure to end; nobody is preempted.
    """

    def __init__(self, eos: int, vllm_config: Any) -> None:
        self.eos = eos
        self.vllm_config = vllm_config
        self.scheduler_config = vllm_config.scheduler_config
        self.requests: dict[str, FakeRequest] = {}
        self.cache_config = CACHE_CONFIG
        self.max_model_len = 1000
        self.running: list[FakeRequest] = []
        self.waiting: list[FakeRequest] = []
        self.finished: set[str] = set()
        self.preempt_next: str | None = None
        pool = SimpleNamespace(get_num_free_blocks=lambda: 9 - len(self.running))
        self.kv_cache_manager = SimpleNamespace(block_pool=pool)

    def add_request(self, request: FakeRequest) -> None:
        self.waiting.append(request)
        self.requests[request.request_id] = request

    def has_requests(self) -> bool:
        return bool(self.requests or self.finished)

    def schedule(self) -> SimpleNamespace:
        for request in [r for r in self.running if r.request_id == self.preempt_next]:
            self.preempt_next = None
            self._preempt_request(request, 0.0)
        resumed = [r for r in self.waiting if r.output]
        new = [r for r in self.waiting if not r.output]
        cached = [*self.running, *resumed]
        self.running, self.waiting = [*cached, *new], []
        batch = [r for r in self.running if r.num_sampled < r.sampling_params.max_tokens]
        cached = [r for r in cached if r in batch]
        plan = SimpleNamespace(
            scheduled_new_reqs=[
                SimpleNamespace(
                    req_id=r.request_id, prompt_token_ids=r.prompt_token_ids, num_computed_tokens=0
                )
                for r in new
            ],
            scheduled_cached_reqs=SimpleNamespace(
                req_ids=[r.request_id for r in cached],
                num_computed_tokens=[r.computed for r in cached],
                num_output_tokens=[r.num_sampled for r in cached],
                resumed_req_ids={r.request_id for r in resumed},
            ),
            num_scheduled_tokens={
                r.request_id: r.num_prompt_tokens + r.num_sampled - r.computed for r in batch
            },
            finished_req_ids=self.finished,
        )
        self.finished = set()
        for request in batch:
            request.computed = request.num_prompt_tokens + request.num_sampled
            request.placeholders += bool(self.scheduler_config.async_scheduling)
        return plan

    def _preempt_request(self, request: FakeRequest, timestamp: float) -> None:
        self.running.remove(request)
        request.computed = 0
        self.waiting.append(request)

    def update_from_output(self, plan: Any, output: Any) -> dict[int, Any]:
        outputs = []
        batch = [self.requests[each] for each in plan.num_scheduled_tokens if each in self.requests]
        for request in batch:
            request.placeholders -= bool(self.scheduler_config.async_scheduling)
            tokens = output.sampled_token_ids[output.req_id_to_index[request.request_id]]
            request.output += tokens
            reason = "stop" if self.eos in tokens else None
            if len(request.output) >= request.sampling_params.max_tokens:
                reason = reason or "length"
            if reason:
                self._free(request)
            outputs.append(_output(request.request_id, list(tokens), reason))
        return {0: SimpleNamespace(outputs=outputs)} if outputs else {}

    def finish_requests(self, request_ids: Any, status: Status) -> list[FakeRequest]:
        ids = [request_ids] if isinstance(request_ids, str) else list(request_ids)
        found = [r for r in (*self.running, *self.waiting) if r.request_id in ids]
        for request in found:
            request.status = status
            self._free(request)
        return found

    def shutdown(self) -> None:
        """Nothing is open."""

    def _free(self, request: FakeRequest) -> None:
        (self.running if request in self.running else self.waiting).remove(request)
        self.finished.add(request.request_id)
        del self.requests[request.request_id]


def _output(
    request_id: str, new_token_ids: list[int], finish_reason: Any = None, stop_reason: Any = None
) -> SimpleNamespace:
    return SimpleNamespace(
        request_id=request_id,
        new_token_ids=new_token_ids,
        finish_reason=finish_reason,
        stop_reason=stop_reason,
    )


class FakeExecutor:
    """vLLM's base class: it keeps the configuration and calls `_init_executor`."""

    def __init__(self, vllm_config: Any) -> None:
        self.vllm_config = vllm_config
        for part in ("model_config", "cache_config", "parallel_config", "scheduler_config"):
            setattr(self, part, getattr(vllm_config, part))
        self._init_executor()

    def _init_executor(self) -> None:
        raise NotImplementedError

    def sample_tokens(self, grammar_output: Any) -> Any:
        raise NotImplementedError


def engine_args() -> dict[str, type[Any]]:
    """vLLM's two classes of engine args, made anew, so that what a plugin does to them ends with the test."""

    @dataclass
    class EngineArgs:
        model: str = "m"
        distributed_executor_backend: Any = None
        additional_config: dict[str, Any] = field(default_factory=dict)
        tensor_parallel_size: int = 1
        pipeline_parallel_size: int = 1
        data_parallel_size: int = 1
        speculative_config: Any = None
        scheduler_cls: Any = None
        async_scheduling: bool | None = None

        @staticmethod
        def add_cli_args(parser: Any) -> Any:
            parser.add_argument("--model")
            return parser

        def create_engine_config(self) -> Any:
            parallel = SimpleNamespace(
                world_size=self.tensor_parallel_size * self.pipeline_parallel_size,
                pipeline_parallel_size=self.pipeline_parallel_size,
                data_parallel_size=self.data_parallel_size,
            )
            scheduler = SimpleNamespace(
                scheduler_cls=self.scheduler_cls, async_scheduling=bool(self.async_scheduling)
            )
            return SimpleNamespace(
                parallel_config=parallel,
                scheduler_config=scheduler,
                speculative_config=self.speculative_config,
            )

    @dataclass
    class AsyncEngineArgs(EngineArgs):
        enable_log_requests: bool = False

    return {"EngineArgs": EngineArgs, "AsyncEngineArgs": AsyncEngineArgs}


class FakeInputProcessor:
    """vLLM's front end: a prompt in, a request out."""

    def __init__(self, vllm_config: Any, renderer: Any = None) -> None:
        self.vllm_config = vllm_config

    def process_inputs(self, request_id: str, prompt: list[int], sampling_params: Any) -> FakeRequest:
        return FakeRequest(request_id, prompt, sampling_params)


class _Fields:
    """Stands for a dataclass of vLLM's that is only looked at for its fields."""

    __dataclass_fields__: ClassVar = dict.fromkeys(
        ["additional_config", "num_output_tokens", "resumed_req_ids"]
    )


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `import vllm` find these types, and tracesim's modules that import them be imported anew."""
    spec = SimpleNamespace
    modules: dict[str, dict[str, Any]] = {
        "vllm": {"__version__": "0.0-fake"},
        "vllm.config": {"VllmConfig": _Fields},
        "vllm.engine.arg_utils": engine_args(),
        "vllm.exceptions": {"VLLMValidationError": ValidationError},
        "vllm.logger": {
            "init_logger": lambda name: SimpleNamespace(error=lambda *_: None, info=lambda *_: None)
        },
        "vllm.v1.core.sched.async_scheduler": {
            "AsyncScheduler": type("AsyncScheduler", (FakeScheduler,), {})
        },
        "vllm.v1.core.sched.scheduler": {"Scheduler": FakeScheduler},
        "vllm.v1.core.sched.output": {"CachedRequestData": _Fields},
        "vllm.v1.engine": {
            "EngineCoreOutput": lambda **fields: spec(**fields),
            "EngineCoreOutputs": lambda: spec(outputs=[]),
        },
        "vllm.v1.engine.input_processor": {
            "InputProcessor": type("InputProcessor", (FakeInputProcessor,), {})
        },
        "vllm.v1.executor.abstract": {"Executor": FakeExecutor},
        "vllm.v1.kv_cache_interface": {"FullAttentionSpec": lambda **fields: spec(**fields)},
        "vllm.v1.outputs": {
            "EMPTY_MODEL_RUNNER_OUTPUT": "empty",
            "ModelRunnerOutput": lambda **fields: spec(**fields),
        },
        "vllm.v1.request": {"RequestStatus": Status},
    }
    for name in ("executor", "logged_scheduler", "recording_scheduler", "served_scheduler"):
        monkeypatch.delitem(sys.modules, f"tracesim.vllm.{name}", raising=False)
    for name, members in modules.items():
        for parent in _parents(name):
            if parent not in modules:
                monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
        module = types.ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)


def _parents(name: str) -> Iterable[str]:
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts)))
