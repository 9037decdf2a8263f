"""tracesim replays recorded LLM prompt/response traces through an engine loop, with no model and no GPU."""

from tracesim.config import EngineArgs, EngineConfig
from tracesim.cursor import Cursor
from tracesim.errors import (
    ConfigError,
    RequestError,
    StalledError,
    StepLimitError,
    TokenizerError,
    TraceError,
    TraceProblem,
    TracesimError,
    UnknownPromptError,
)
from tracesim.llm_engine import LLMEngine
from tracesim.outputs import (
    CachedTokens,
    CompletionOutput,
    EmittedToken,
    FinishedRequest,
    RequestOutput,
    ScheduledTokens,
    StepRecord,
)
from tracesim.sampling import SamplingParams
from tracesim.simulator import TraceSimulator
from tracesim.tokenizer import Tokenizer, load_tokenizer
from tracesim.trace import TraceRecord, read_trace

__all__ = [
    "CachedTokens",
    "CompletionOutput",
    "ConfigError",
    "Cursor",
    "EmittedToken",
    "EngineArgs",
    "EngineConfig",
    "FinishedRequest",
    "LLMEngine",
    "RequestError",
    "RequestOutput",
    "SamplingParams",
    "ScheduledTokens",
    "StalledError",
    "StepLimitError",
    "StepRecord",
    "Tokenizer",
    "TokenizerError",
    "TraceError",
    "TraceProblem",
    "TraceRecord",
    "TraceSimulator",
    "TracesimError",
    "UnknownPromptError",
    "load_tokenizer",
    "read_trace",
]
