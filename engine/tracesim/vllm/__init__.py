"""tracesim inside a real vLLM: the server, the scheduler and the API are vLLM's, the answers a trace's.

    vllm serve MODEL --use-simulator --sim-trace trace.jsonl
    vllm serve MODEL --distributed-executor-backend tracesim.vllm.TraceExecutor \\
        --additional-config '{"sim_trace": "trace.jsonl"}'

To import this package imports no vLLM; `TraceExecutor` does, when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracesim.vllm.executor import TraceExecutor

__all__ = ["TraceExecutor"]


def __getattr__(name: str) -> object:
    if name == "TraceExecutor":
        from tracesim.vllm.executor import TraceExecutor

        return TraceExecutor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
