r"""tracesim inside a real vLLM: server, scheduler and API are vLLM's, and the answers come from a trace.

    vllm serve MODEL --use-simulator --sim-trace trace.jsonl
    vllm serve MODEL --distributed-executor-backend tracesim.vllm.TraceExecutor \
        --additional-config '{"sim_trace": "trace.jsonl"}'

Or the answers come from a real model, and a trace is recorded:

    vllm serve MODEL --sim-record run.jsonl

Importing this package does not import vLLM; accessing its classes does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracesim.vllm.executor import TraceExecutor
    from tracesim.vllm.recording_scheduler import AsyncRecordingScheduler, RecordingScheduler

__all__ = ["AsyncRecordingScheduler", "RecordingScheduler", "TraceExecutor"]


def __getattr__(name: str) -> object:
    if name == "TraceExecutor":
        from tracesim.vllm.executor import TraceExecutor

        return TraceExecutor
    if name in __all__:
        from tracesim.vllm import recording_scheduler

        return getattr(recording_scheduler, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
