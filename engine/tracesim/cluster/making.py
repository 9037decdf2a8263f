"""Engines by their settings: one, or as many as there are replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracesim.config import EngineArgs
from tracesim.engine.llm_engine import LLMEngine
from tracesim.responses.sampling_params import SamplingParams
from tracesim.responses.simulator import TraceSimulator
from tracesim.timing.arrival_process import parse_arrivals
from tracesim.timing.clock import parse_clock

if TYPE_CHECKING:
    from tracesim.cluster.cluster import Cluster


def make_engine(args: EngineArgs, simulator: TraceSimulator) -> LLMEngine | Cluster:
    """Return an engine with these settings, or a cluster of several, without requests yet.

    Raises ConfigError for a setting that is not valid.
    """
    config, clock = args.create_engine_config(), parse_clock(args.clock)
    arrivals = parse_arrivals(args.arrivals, args.speedup, args.seed, args.sessions)
    params = SamplingParams(args.max_tokens, args.min_tokens, args.stop, args.include_stop_str_in_output)
    if args.replicas == 1:
        return LLMEngine(config, simulator, clock=clock, arrivals=arrivals, params=params)
    from tracesim.cluster.cluster import Cluster
    from tracesim.cluster.routers import parse_router

    router = parse_router(args.router, args.seed)
    return Cluster(config, simulator, args.replicas, router, clock=clock, arrivals=arrivals, params=params)
