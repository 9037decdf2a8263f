"""vLLM's own scheduler, extended to assign recordings to requests and to log its steps."""

from __future__ import annotations

import atexit
from typing import Any

from vllm.logger import init_logger
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs
from vllm.v1.request import RequestStatus

from tracesim.errors import RequestError
from tracesim.responses.sampling_params import SamplingParams
from tracesim.vllm.answers import RecordedAnswers
from tracesim.vllm.front_end import check
from tracesim.vllm.served_log import Counts, ServedLog

_logger = init_logger("vllm.tracesim")  # vLLM shows only what is logged below its own name


_Base: Any = object


class _Served(_Base):  # type: ignore[misc]
    """Mixin for a Scheduler class of vLLM. A request whose prompt was not recorded fails by itself."""

    answers: RecordedAnswers
    log_path: str | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._failed: list[tuple[Any, str]] = []
        self._preempted: list[str] = []
        self._log: ServedLog | None = None
        if self.log_path is not None:
            caching = bool(self.cache_config.enable_prefix_caching)
            self._log = ServedLog(
                self.log_path,
                self.answers.requests,
                prefix_caching=caching,
                async_scheduling=bool(self.scheduler_config.async_scheduling),
            )
            atexit.register(self._close_log)  # an engine in its user's own process is rarely shut down

    def add_request(self, request: Any) -> None:
        """Find the answer of a request; one without an answer fails, and the engine informs its client."""
        super().add_request(request)
        max_output_tokens = max(1, self.max_model_len - request.num_prompt_tokens)
        try:
            check(request)  # the front end has, unless vLLM's plugins are switched off
            limits = request.sampling_params
            params = SamplingParams(
                max_tokens=limits.max_tokens,
                min_tokens=limits.min_tokens,
                stop=limits.stop or None,
                include_stop_str_in_output=limits.include_stop_str_in_output,
            )
            self.answers.add(request.request_id, request.prompt_token_ids, params, max_output_tokens)
        except RequestError as error:
            _logger.error("request %s: %s", request.request_id, error)
            self.finish_requests([request.request_id], RequestStatus.FINISHED_ERROR)
            self._failed.append((request, str(error)))

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        """Plan a step, and log its plan; the step whose output came last is complete."""
        if self._log:
            self._log.write()
        self._preempted = []
        plan = super().schedule(*args, **kwargs)
        if self._log:
            self._log.planned(plan, self._preempted, self._counts())
        return plan

    def _preempt_request(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self._preempted.append(request.request_id)
        return super()._preempt_request(request, *args, **kwargs)

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        """Update the scheduler with the tokens of a step, and log them."""
        discarded = [each for each in scheduler_output.num_scheduled_tokens if each not in self.requests]
        by_client = super().update_from_output(scheduler_output, model_runner_output)
        if self._log:
            outputs = [output for client in by_client.values() for output in client.outputs]
            self._log.computed(outputs, discarded, self._counts())
        for request, reason in self._failed:
            client = by_client.setdefault(request.client_index, EngineCoreOutputs())
            failure = EngineCoreOutput(
                request_id=request.request_id,
                new_token_ids=[],
                finish_reason=request.get_finished_reason(),
                stop_reason=reason,
            )
            client.outputs.append(failure)
        self._failed.clear()
        return by_client

    def finish_requests(self, request_ids: Any, finished_status: Any) -> Any:
        finished = super().finish_requests(request_ids, finished_status)
        if self._log and finished_status == RequestStatus.FINISHED_ABORTED:
            # vLLM reports an abort twice; the result has those that were not finished yet: requests, or
            # since vLLM 0.32 an id and a client for each.
            aborted = (each[0] if isinstance(each, tuple) else each.request_id for each in finished or ())
            self._log.aborted(aborted, self._counts())
        return finished

    def shutdown(self) -> None:
        self._close_log()
        super().shutdown()

    def _close_log(self) -> None:
        if self._log:
            atexit.unregister(self._close_log)
            self._log.close(self.requests, self._counts())

    def _counts(self) -> Counts:
        free_blocks = self.kv_cache_manager.block_pool.get_num_free_blocks()
        return Counts(len(self.running), len(self.waiting), free_blocks)


def served_scheduler(base: type[Any], answers: RecordedAnswers, log_path: str | None) -> type[Any]:
    """Return a subclass of `base`, a Scheduler class of vLLM, that schedules as `base` does.

    It finds the answers as requests arrive, and writes step records to `log_path` unless that is None.
    """
    members = {"__module__": __name__, "answers": answers, "log_path": log_path}
    return type("ServedScheduler", (_Served, base), members)
