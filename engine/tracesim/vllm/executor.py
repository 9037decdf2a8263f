"""`TraceExecutor`, which takes the place of vLLM's executor and its model."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, TypeVar

from vllm.v1.executor.abstract import Executor
from vllm.v1.kv_cache_interface import FullAttentionSpec
from vllm.v1.outputs import EMPTY_MODEL_RUNNER_OUTPUT, ModelRunnerOutput

from tracesim.trace.reader import read_records
from tracesim.vllm.answers import RecordedAnswers
from tracesim.vllm.pace import DueFuture, Pacer
from tracesim.vllm.record_settings import RecordSettings
from tracesim.vllm.served_plan import batch_of, entries_of
from tracesim.vllm.served_scheduler import served_scheduler
from tracesim.vllm.served_tokenizer import ServedTokenizer, load_served_tokenizer
from tracesim.vllm.settings import SimSettings, refuse_what_has_no_meaning

T = TypeVar("T")

_DEFAULT_KV_BYTES = 4 << 30
"""Memory for KV blocks where nothing else says how much."""


class TraceExecutor(Executor):  # type: ignore[misc]
    r"""Answers vLLM's engine from a trace, as `additional_config` says; see `SimSettings`.

        vllm serve MODEL --distributed-executor-backend tracesim.vllm.TraceExecutor \
            --additional-config '{"sim_trace": "trace.jsonl"}'

    No worker is started and no weights are loaded. The simulator makes the tokens of a step: one for each
    request all of whose tokens are computed, at the position at which vLLM's scheduler has the request. With
    asynchronous scheduling that counts the tokens of the batch in flight, so a step needs no output of the
    one before.

    Raises ConfigError for settings that do not fit, and TraceError for a trace with errors.
    """

    supports_pp = False

    def _init_executor(self) -> None:
        refuse_what_has_no_meaning(self.vllm_config)
        settings = SimSettings.from_additional_config(self.vllm_config.additional_config)
        self._tokenizer = load_served_tokenizer(self.model_config)
        self._answers = load_answers(settings, self._tokenizer)
        # vLLM makes its scheduler after the executor, in the same process, from this same configuration.
        config = self.scheduler_config
        if settings.async_scheduling is not None:  # on a CPU vLLM has switched it off, whatever was wanted
            config.async_scheduling = settings.async_scheduling
        self._pacer = Pacer(settings.clock, async_scheduling=bool(config.async_scheduling))
        self._output: ModelRunnerOutput | None = None
        self._due = 0.0
        scheduler = config.get_scheduler_cls()
        if RecordSettings.from_additional_config(self.vllm_config.additional_config):
            from tracesim.vllm.recording_scheduler import recording_scheduler

            scheduler = recording_scheduler(scheduler)
        config.scheduler_cls = served_scheduler(scheduler, self._answers, settings.log)

    # ---- What vLLM asks of its workers

    def collective_rpc(
        self,
        method: Any,
        timeout: float | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        non_block: bool = False,
        **_: Any,
    ) -> Any:
        """Answer for a single worker; calls that do not matter here return None."""
        answer = getattr(self, f"_answer_{method}", None) if isinstance(method, str) else None
        return _now([answer() if answer else None], later=non_block)

    def _answer_get_kv_cache_spec(self) -> dict[str, FullAttentionSpec]:
        """All layers as one: so a block has the size that it would have with the model's weights there."""
        model = self.model_config
        heads = model.get_num_kv_heads(self.parallel_config) * model.get_num_layers(self.parallel_config)
        spec = FullAttentionSpec(
            block_size=self.cache_config.block_size,
            num_kv_heads=heads,
            head_size=model.get_head_size(),
            dtype=model.dtype,
        )
        return {"tracesim": spec}

    def _answer_determine_available_memory(self) -> int:
        given = ("kv_cache_memory_bytes", "cpu_kvcache_space_bytes")  # the second before vLLM 0.25
        return next((n for name in given if (n := getattr(self.cache_config, name, None))), _DEFAULT_KV_BYTES)

    def _answer_get_supported_kv_cache_layouts(self) -> list[str]:
        from vllm.v1.kv_cache_interface import KVCacheLayout  # since vLLM 0.32, which alone asks

        return [layout.name for layout in KVCacheLayout]

    def _answer_get_supported_tasks(self) -> tuple[str, ...]:
        return ("generate",)

    def initialize_from_config(self, kv_cache_configs: Any) -> None:
        """Do nothing: there is no memory to set up."""

    def compile_or_warm_up_model(self) -> None:
        """Do nothing: there is no model."""

    def check_health(self) -> None:
        """Do nothing: there is no process that could have died."""

    def shutdown(self) -> None:
        """Do nothing: there is no worker to stop."""

    @property
    def max_concurrent_batches(self) -> int:
        """The number of batches in flight, for vLLM before 0.25: two with asynchronous scheduling."""
        return 2 if self.scheduler_config.async_scheduling else 1

    @classmethod
    def supports_async_scheduling(cls) -> bool:
        """Return True: what a step emits is known when it is planned."""
        return True

    # ---- A step

    def execute_model(self, scheduler_output: Any, non_block: bool = False) -> Any:
        """Make the tokens of a step; `sample_tokens` returns them, as in vLLM's own executors."""
        for request_id in scheduler_output.finished_req_ids:
            self._answers.forget(request_id)
        entries = entries_of(scheduler_output, self._answers.requests)
        if not entries:
            return _now(EMPTY_MODEL_RUNNER_OUTPUT, later=non_block)
        simulator = self._answers.simulator
        positions = {entry.request_id: entry.emitted for entry in entries if entry.samples}
        for request_id, position in positions.items():
            simulator.seek(request_id, position)
        tokens = dict.fromkeys(positions, self._tokenizer.eos_token_id)  # each time after the recording
        for token in simulator.simulate_decode(positions):
            if token.token_id is not None:
                tokens[token.request_id] = token.token_id
        self._output = ModelRunnerOutput(
            req_ids=[entry.request_id for entry in entries],
            req_id_to_index={entry.request_id: index for index, entry in enumerate(entries)},
            sampled_token_ids=[[tokens[entry.request_id]] if entry.samples else [] for entry in entries],
        )
        self._due = self._pacer.due(batch_of(entries))
        return _now(None, later=non_block)

    def sample_tokens(self, grammar_output: Any, non_block: bool = False) -> Any:
        """Return the tokens of the step that was executed last, at its end or in a future."""
        future = DueFuture(self._output, self._due, self._pacer)
        return future if non_block else future.result()


def load_answers(settings: SimSettings, tokenizer: ServedTokenizer) -> RecordedAnswers:
    """Return the answers of the trace that the settings name. Raises TraceError with every error in it."""
    return RecordedAnswers(read_records([settings.trace]), tokenizer, settings.match, settings.default)


def _now(value: T, *, later: bool) -> T | Future[T]:
    """`value`, in a future that has it already where one is wanted."""
    if not later:
        return value
    future: Future[T] = Future()
    future.set_result(value)
    return future
