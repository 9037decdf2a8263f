"""The schedulers: one protocol, a file for each policy, and `make_scheduler` to choose one."""

from __future__ import annotations

from tracesim.config import EngineConfig
from tracesim.scheduler.async_token_budget import AsyncTokenBudgetScheduler
from tracesim.scheduler.interface import BatchEntry, Scheduler, StepPlan, StepsBeforeArrival, Stride
from tracesim.scheduler.prefill_first import PrefillFirstScheduler
from tracesim.scheduler.token_budget import TokenBudgetScheduler
from tracesim.scheduler.waiting import CAUSES, Cause

__all__ = [
    "CAUSES",
    "BatchEntry",
    "Cause",
    "Scheduler",
    "StepPlan",
    "StepsBeforeArrival",
    "Stride",
    "make_scheduler",
]


def make_scheduler(config: EngineConfig) -> Scheduler:
    """Return a new scheduler for the engine that `config` names."""
    if config.engine == "vllm-v1":
        return AsyncTokenBudgetScheduler(config) if config.async_scheduling else TokenBudgetScheduler(config)
    return PrefillFirstScheduler(config, prefill_samples=config.engine == "vllm-v0")
