r"""tracesim inside a real vLLM: server, scheduler and API are vLLM's, and the answers come from a trace.

    vllm serve MODEL --use-simulator --sim-trace trace.jsonl
    vllm serve MODEL --distributed-executor-backend tracesim.vllm.TraceExecutor \
        --additional-config '{"sim_trace": "trace.jsonl"}'

Importing this package does not import vLLM; accessing `TraceExecutor` does.
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
