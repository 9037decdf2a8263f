"""tracesim replays recorded LLM prompt/response traces through an engine loop, with no model and no GPU."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tracesim.analysis.comparison import ReportComparison as ReportComparison
    from tracesim.analysis.comparison import compare_reports as compare_reports
    from tracesim.analysis.figures import Figure as Figure
    from tracesim.analysis.figures import Requirement as Requirement
    from tracesim.analysis.figures import figure_named as figure_named
    from tracesim.analysis.figures import parse_requirement as parse_requirement
    from tracesim.analysis.metrics import Metrics as Metrics
    from tracesim.analysis.metrics import Slo as Slo
    from tracesim.analysis.metrics import parse_slo as parse_slo
    from tracesim.analysis.report import measure_run as measure_run
    from tracesim.analysis.saved_report import SavedReport as SavedReport
    from tracesim.analysis.saved_report import read_report as read_report
    from tracesim.config import EngineArgs as EngineArgs
    from tracesim.config import EngineConfig as EngineConfig
    from tracesim.engine.llm_engine import LLMEngine as LLMEngine
    from tracesim.engine.outputs import CompletionOutput as CompletionOutput
    from tracesim.engine.outputs import RequestOutput as RequestOutput
    from tracesim.engine.step_records import CachedTokens as CachedTokens
    from tracesim.engine.step_records import EmittedToken as EmittedToken
    from tracesim.engine.step_records import FinishedRequest as FinishedRequest
    from tracesim.engine.step_records import LaunchedFigures as LaunchedFigures
    from tracesim.engine.step_records import ScheduledTokens as ScheduledTokens
    from tracesim.engine.step_records import StepRecord as StepRecord
    from tracesim.engine.step_records import WaitingFor as WaitingFor
    from tracesim.engine.stride_records import StrideRecord as StrideRecord
    from tracesim.errors import ConfigError as ConfigError
    from tracesim.errors import ReportError as ReportError
    from tracesim.errors import RequestError as RequestError
    from tracesim.errors import StalledError as StalledError
    from tracesim.errors import StepLimitError as StepLimitError
    from tracesim.errors import StepLogError as StepLogError
    from tracesim.errors import TokenizerError as TokenizerError
    from tracesim.errors import TraceError as TraceError
    from tracesim.errors import TraceProblem as TraceProblem
    from tracesim.errors import TracesimError as TracesimError
    from tracesim.errors import UnknownPromptError as UnknownPromptError
    from tracesim.profiles.profile import Profile as Profile
    from tracesim.profiles.profile import engine_args_from_profiles as engine_args_from_profiles
    from tracesim.profiles.profile import load_profile as load_profile
    from tracesim.responses.recorded_response import Cursor as Cursor
    from tracesim.responses.recorded_response import RecordedResponse as RecordedResponse
    from tracesim.responses.sampling_params import SamplingParams as SamplingParams
    from tracesim.responses.simulator import TraceSimulator as TraceSimulator
    from tracesim.timing.arrival_process import ArrivalProcess as ArrivalProcess
    from tracesim.timing.arrival_process import parse_arrivals as parse_arrivals
    from tracesim.timing.clock import Clock as Clock
    from tracesim.timing.clock import parse_clock as parse_clock
    from tracesim.tokenizers.interface import Tokenizer as Tokenizer
    from tracesim.tokenizers.loading import load_tokenizer as load_tokenizer
    from tracesim.trace.reader import read_records as read_records
    from tracesim.trace.reader import read_trace as read_trace
    from tracesim.trace.record import TraceRecord as TraceRecord

_MODULES = {
    "analysis.comparison": ("ReportComparison", "compare_reports"),
    "analysis.figures": ("Figure", "Requirement", "figure_named", "parse_requirement"),
    "analysis.metrics": ("Metrics", "Slo", "parse_slo"),
    "analysis.report": ("measure_run",),
    "analysis.saved_report": ("SavedReport", "read_report"),
    "config": ("EngineArgs", "EngineConfig"),
    "engine.llm_engine": ("LLMEngine",),
    "engine.outputs": ("CompletionOutput", "RequestOutput"),
    "engine.step_records": (
        "CachedTokens",
        "EmittedToken",
        "FinishedRequest",
        "LaunchedFigures",
        "WaitingFor",
        "ScheduledTokens",
        "StepRecord",
    ),
    "engine.stride_records": ("StrideRecord",),
    "errors": (
        "ConfigError",
        "ReportError",
        "RequestError",
        "StalledError",
        "StepLimitError",
        "StepLogError",
        "TokenizerError",
        "TraceError",
        "TraceProblem",
        "TracesimError",
        "UnknownPromptError",
    ),
    "profiles.profile": ("Profile", "engine_args_from_profiles", "load_profile"),
    "responses.recorded_response": ("Cursor", "RecordedResponse"),
    "responses.sampling_params": ("SamplingParams",),
    "responses.simulator": ("TraceSimulator",),
    "timing.arrival_process": ("ArrivalProcess", "parse_arrivals"),
    "timing.clock": ("Clock", "parse_clock"),
    "tokenizers.interface": ("Tokenizer",),
    "tokenizers.loading": ("load_tokenizer",),
    "trace.reader": ("read_records", "read_trace"),
    "trace.record": ("TraceRecord",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __dir__() -> list[str]:
    """Return the public names, and those that every module has."""
    return [*__all__, *(name for name in globals() if name.startswith("__"))]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that a program only waits for what it needs."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'tracesim' has no attribute {name!r}")
    return getattr(import_module(f"tracesim.{_MODULE_OF[name]}"), name)
