"""tracesim replays recorded LLM prompt/response traces through an engine loop, with no model and no GPU."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tracesim.arrival_process import ArrivalProcess as ArrivalProcess
    from tracesim.arrival_process import parse_arrivals as parse_arrivals
    from tracesim.clock import Clock as Clock
    from tracesim.clock import parse_clock as parse_clock
    from tracesim.config import EngineArgs as EngineArgs
    from tracesim.config import EngineConfig as EngineConfig
    from tracesim.cursor import Cursor as Cursor
    from tracesim.errors import (
        ConfigError as ConfigError,
    )
    from tracesim.errors import (
        RequestError as RequestError,
    )
    from tracesim.errors import (
        StalledError as StalledError,
    )
    from tracesim.errors import (
        StepLimitError as StepLimitError,
    )
    from tracesim.errors import (
        StepLogError as StepLogError,
    )
    from tracesim.errors import (
        TokenizerError as TokenizerError,
    )
    from tracesim.errors import (
        TraceError as TraceError,
    )
    from tracesim.errors import (
        TraceProblem as TraceProblem,
    )
    from tracesim.errors import (
        TracesimError as TracesimError,
    )
    from tracesim.errors import (
        UnknownPromptError as UnknownPromptError,
    )
    from tracesim.llm_engine import LLMEngine as LLMEngine
    from tracesim.metrics import Metrics as Metrics
    from tracesim.metrics import Slo as Slo
    from tracesim.metrics import parse_slo as parse_slo
    from tracesim.outputs import (
        CachedTokens as CachedTokens,
    )
    from tracesim.outputs import (
        CompletionOutput as CompletionOutput,
    )
    from tracesim.outputs import (
        EmittedToken as EmittedToken,
    )
    from tracesim.outputs import (
        FinishedRequest as FinishedRequest,
    )
    from tracesim.outputs import (
        RequestOutput as RequestOutput,
    )
    from tracesim.outputs import (
        ScheduledTokens as ScheduledTokens,
    )
    from tracesim.outputs import (
        StepRecord as StepRecord,
    )
    from tracesim.sampling import SamplingParams as SamplingParams
    from tracesim.simulator import TraceSimulator as TraceSimulator
    from tracesim.tokenizer import Tokenizer as Tokenizer
    from tracesim.tokenizer import load_tokenizer as load_tokenizer
    from tracesim.trace import TraceRecord as TraceRecord
    from tracesim.trace import read_records as read_records
    from tracesim.trace import read_trace as read_trace

_ROOMS = {
    "arrival_process": ("ArrivalProcess", "parse_arrivals"),
    "clock": ("Clock", "parse_clock"),
    "config": ("EngineArgs", "EngineConfig"),
    "cursor": ("Cursor",),
    "errors": (
        "ConfigError",
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
    "llm_engine": ("LLMEngine",),
    "metrics": ("Metrics", "Slo", "parse_slo"),
    "outputs": (
        "CachedTokens",
        "CompletionOutput",
        "EmittedToken",
        "FinishedRequest",
        "RequestOutput",
        "ScheduledTokens",
        "StepRecord",
    ),
    "sampling": ("SamplingParams",),
    "simulator": ("TraceSimulator",),
    "tokenizer": ("Tokenizer", "load_tokenizer"),
    "trace": ("TraceRecord", "read_records", "read_trace"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = sorted(_ROOM_OF)


def __getattr__(name: str) -> object:
    """Import a name when it is first asked for: a command that needs one room does not pay for the others."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'tracesim' has no attribute {name!r}")
    return getattr(import_module(f"tracesim.{_ROOM_OF[name]}"), name)
