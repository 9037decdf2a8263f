"""The trace formats: their names, and the reader of each."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from tracesim.errors import ConfigError
from tracesim.trace.formats.interface import TraceFormat
from tracesim.trace.formats.names import FORMATS, OWN, FormatName

__all__ = ["FORMATS", "OWN", "FormatName", "check_format", "make_format"]

_READERS: dict[FormatName, str] = {
    "tracesim": "RecordDocument",
    "mooncake": "Mooncake",
    "bailian": "Bailian",
    "azure": "Azure",
    "burstgpt": "BurstGPT",
    "vidur": "Vidur",
    "sharegpt": "ShareGPT",
    "messages": "Messages",
    "wildchat": "WildChat",
    "openai-batch": "OpenAIBatch",
    "litellm": "LiteLLM",
    "opentelemetry": "OpenTelemetry",
    "weka": "Weka",
    "tracelab": "TraceLab",
    "vllm-bench": "VLLMBench",
    "llmservingsim": "LLMServingSim",
}


def check_format(name: str) -> FormatName:
    """Return `name` if it is the name of a format. Raises ConfigError."""
    if name not in FORMATS:
        raise ConfigError(f"is {name!r}; must be one of {', '.join(FORMATS)}", setting="trace_format")
    return name


def make_format(name: FormatName) -> TraceFormat:
    """Return a new reader of a format, imported only now."""
    module = import_module(f"tracesim.trace.formats.{name.replace('-', '_')}")
    reader: Callable[[], TraceFormat] = getattr(module, _READERS[name])
    return reader()
