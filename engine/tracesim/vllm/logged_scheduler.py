"""vLLM's own scheduler, extended to report what it does to logs."""

from __future__ import annotations

import atexit
import time
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from vllm.v1.request import RequestStatus

from tracesim.vllm.step_logger import Counts


class SchedulerLog(Protocol):
    """Follows a scheduler of vLLM. Moments are in nanoseconds of `time.monotonic_ns`."""

    def added(self, request: Any) -> None:
        """Note that vLLM's `Request` arrived in the scheduler."""
        ...

    def planned(self, plan: Any, preempted: Sequence[str], counts: Counts, moment: int) -> None:
        """Note a plan that was begun at `moment`, and the ids of the requests that it preempted."""
        ...

    def computed(self, outputs: Sequence[Any], discarded: Sequence[str], counts: Counts, moment: int) -> None:
        """Note the output of the oldest plan that has none yet, which was there at `moment`.

        `outputs` are vLLM's `EngineCoreOutput`s; requests whose ids are in `discarded` had ended before.
        """
        ...

    def aborted(self, request_ids: Sequence[str], counts: Counts) -> None:
        """Note the ids of requests that the front end aborted."""
        ...

    def close(self, alive: Collection[str], counts: Counts) -> None:
        """Write what is left, and close the files; `alive` are the ids of requests that have not ended."""
        ...


_Base: Any = object


class LoggedScheduler(_Base):  # type: ignore[misc]
    """Mixin for a Scheduler class of vLLM, which schedules as that does and reports to its logs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._preempted: list[str] = []
        self._logs = self._open_logs()
        atexit.register(self._close_logs)  # an engine in its user's own process is rarely shut down

    def _open_logs(self) -> list[SchedulerLog]:
        """Return the logs to report to; a subclass adds its own."""
        return []

    def add_request(self, request: Any) -> None:
        """Add a request, and report it."""
        super().add_request(request)
        for log in self._logs:
            log.added(request)

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        """Plan a step, and report the plan."""
        moment = time.monotonic_ns()
        self._preempted = []
        plan = super().schedule(*args, **kwargs)
        for log in self._logs:
            log.planned(plan, self._preempted, self._counts(), moment)
        return plan

    def _preempt_request(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self._preempted.append(request.request_id)
        return super()._preempt_request(request, *args, **kwargs)

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        """Update the scheduler with the tokens of a step, and report them."""
        moment = time.monotonic_ns()
        discarded = [each for each in scheduler_output.num_scheduled_tokens if each not in self.requests]
        by_client = super().update_from_output(scheduler_output, model_runner_output)
        outputs = [output for client in by_client.values() for output in client.outputs]
        for log in self._logs:
            log.computed(outputs, discarded, self._counts(), moment)
        return by_client

    def finish_requests(self, request_ids: Any, finished_status: Any) -> Any:
        """Finish requests, and report those that the front end aborted."""
        finished = super().finish_requests(request_ids, finished_status)
        if finished and finished_status == RequestStatus.FINISHED_ABORTED:
            # vLLM reports an abort twice; the result has those that were not finished yet: requests, or
            # since vLLM 0.32 an id and a client for each.
            aborted = [each[0] if isinstance(each, tuple) else each.request_id for each in finished]
            for log in self._logs:
                log.aborted(aborted, self._counts())
        return finished

    def shutdown(self) -> None:
        """Close the logs, and shut down."""
        self._close_logs()
        super().shutdown()

    def _close_logs(self) -> None:
        atexit.unregister(self._close_logs)
        logs, self._logs = self._logs, []
        for log in logs:
            log.close(list(self.requests), self._counts())

    def _counts(self) -> Counts:
        free_blocks = self.kv_cache_manager.block_pool.get_num_free_blocks()
        return Counts(len(self.running), len(self.waiting), free_blocks)
