"""vLLM's own scheduler, extended to assign recordings to requests and to log its steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vllm.logger import init_logger
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs
from vllm.v1.request import RequestStatus

from tracesim.errors import RequestError
from tracesim.responses.sampling_params import SamplingParams
from tracesim.vllm.answers import RecordedAnswers
from tracesim.vllm.front_end import check
from tracesim.vllm.logged_scheduler import LoggedScheduler, SchedulerLog
from tracesim.vllm.step_logger import StepLogger

_logger = init_logger("vllm.tracesim")  # vLLM shows only what is logged below its own name


class _Served(LoggedScheduler):
    """Mixin for a Scheduler class of vLLM. A request whose prompt was not recorded fails by itself."""

    answers: RecordedAnswers
    log_path: str | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._failed: list[tuple[Any, str]] = []

    def _open_logs(self) -> list[SchedulerLog]:
        logs = super()._open_logs()
        if self.log_path is not None:
            log = StepLogger(
                Path(self.log_path).open("wb", buffering=0),  # noqa: SIM115 - open as long as the engine lives
                self.answers.requests,
                prefix_caching=bool(self.cache_config.enable_prefix_caching),
                async_scheduling=bool(self.scheduler_config.async_scheduling),
            )
            logs.append(log)
        return logs

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

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        """Update the scheduler with the tokens of a step, and inform the clients of requests that failed."""
        by_client = super().update_from_output(scheduler_output, model_runner_output)
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


def served_scheduler(base: type[Any], answers: RecordedAnswers, log_path: str | None) -> type[Any]:
    """Return a subclass of `base`, a Scheduler class of vLLM, that schedules as `base` does.

    It finds the answers as requests arrive, and writes step records to `log_path` unless that is None.
    """
    members = {"__module__": __name__, "answers": answers, "log_path": log_path}
    return type("ServedScheduler", (_Served, base), members)
