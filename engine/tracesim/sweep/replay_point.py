"""One point of a sweep replayed: settings and a trace in, figures out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from tracesim.analysis.metrics import Slo
from tracesim.analysis.report import measure_run, summarize
from tracesim.cluster.cluster import Cluster
from tracesim.cluster.making import make_engine
from tracesim.engine.llm_engine import LLMEngine
from tracesim.engine.stride_records import StrideRecord
from tracesim.errors import TracesimError
from tracesim.responses.simulator import TraceSimulator
from tracesim.sweep.figures import figures_of
from tracesim.sweep.points import Point
from tracesim.sweep.probe import Probe, ProbeEndedError
from tracesim.sweep.shared_trace import SharedTrace
from tracesim.tokenizers.loading import LazyTokenizer

Verdict = Literal["met", "missed", "overloaded"]


@dataclass(frozen=True, slots=True)
class Replay:
    """What to do with a point: `slo` is measured and, for a search, `attainment` of it is required.

    With an `attainment` the replay ends as soon as it is certain that so many requests will not meet the
    `slo`, or that the queue only grows.
    """

    point: Point
    slo: Slo | None = None
    attainment: float | None = None
    skip_invalid: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a point: the figures that it has by name, or the `error` that keeps it from running.

    `verdict` is that of a search: `missed` and `overloaded` come without figures, as the replay has ended
    before its time.
    """

    figures: Mapping[str, float] | None = None
    verdict: Verdict | None = None
    error: str | None = None


def replay_point(trace: SharedTrace, replay: Replay) -> Outcome:
    """Replay a point. It depends on nothing but the arguments, and so is equal in any process."""
    try:
        engine = _open_engine(trace, replay)
        probe = None
        on_stride: Callable[[StrideRecord], object] | None = None
        if replay.attainment is not None and replay.slo is not None:
            probe = Probe(engine, replay.slo, replay.attainment)
            on_stride = probe.on_stride
        try:
            engine.run(on_stride=on_stride)
        except ProbeEndedError as end:
            return Outcome(verdict=end.verdict)
        summary = summarize(engine)
        metrics = measure_run(engine, replay.slo)
        figures = figures_of(summary, metrics, replay.point.gpus)
        return Outcome(figures, None if probe is None else probe.verdict(summary))
    except TracesimError as error:
        return Outcome(error=str(error))


def _open_engine(trace: SharedTrace, replay: Replay) -> LLMEngine | Cluster:
    """Return engines with the requests of a trace. Raises TracesimError if one of them can never run."""
    args = replay.point.args
    finds_text = args.stop is not None or trace.has_stop_strings
    tokenizer = LazyTokenizer(args.tokenizer) if finds_text else None
    simulator = TraceSimulator([], tokenizer, eos_step=args.eos_step)
    engine = make_engine(args, simulator)
    refused = engine.add_records(trace.records[args.tokenizer])
    if refused and not (replay.skip_invalid and engine.requests):
        record, error = refused[0]
        raise TracesimError(
            f"{len(refused):,} of {trace.num_requests:,} requests can never run; the first is in "
            f"{record.file}:{record.line}: {error}"
        )
    return engine
