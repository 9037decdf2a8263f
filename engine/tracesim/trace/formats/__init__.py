"""The trace formats: their names, how a file shows which it has, and the reader of each."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Final, Literal, get_args

import orjson

from tracesim.errors import ConfigError
from tracesim.trace.formats.interface import TraceFormat

FormatName = Literal["tracesim", "mooncake", "azure", "burstgpt", "sharegpt", "openai-batch", "vllm-bench"]

FORMATS: Final[tuple[FormatName, ...]] = get_args(FormatName)
OWN: Final = "tracesim"

_READERS = {
    "mooncake": "Mooncake",
    "azure": "Azure",
    "burstgpt": "BurstGPT",
    "sharegpt": "ShareGPT",
    "openai-batch": "OpenAIBatch",
    "vllm-bench": "VLLMBench",
}
_ARRAY_OF_OBJECTS = re.compile(rb"\[\s*(\{|$)")
_NAME = re.compile(rb'(?<!\\)"([^"\\]{1,64})"\s*:')
_CONTENTS = {"prompt", "prompt_token_ids", "response_token_ids"}


def check_format(name: str) -> FormatName:
    """Return `name` if it is the name of a format. Raises ConfigError."""
    if name not in FORMATS:
        raise ConfigError(f"is {name!r}; must be one of {', '.join(FORMATS)}", setting="trace_format")
    return name


def make_format(name: FormatName) -> TraceFormat:
    """Return a new reader of a format other than tracesim's own, and import it only now."""
    module = import_module(f"tracesim.trace.formats.{name.replace('-', '_')}")
    reader: Callable[[], TraceFormat] = getattr(module, _READERS[name])
    return reader()


def detect_format(head: bytes) -> FormatName:
    """Return the format of a file that begins with `head`: tracesim's own unless it shows another."""
    head = head.lstrip()
    if head.startswith(b"["):
        return "sharegpt" if _ARRAY_OF_OBJECTS.match(head) else OWN
    first = head.partition(b"\n")[0].strip()
    if not first.startswith(b"{"):
        return _by_columns({column.strip() for column in first.split(b",")})
    return _by_names(_names(head if first == b"{" else first))


def _by_columns(columns: set[bytes]) -> FormatName:
    if {b"TIMESTAMP", b"ContextTokens"} <= columns:
        return "azure"
    if {b"Timestamp", b"Request tokens"} <= columns:
        return "burstgpt"
    return OWN


def _by_names(names: set[str]) -> FormatName:
    if names & {"input_lens", "request_throughput"} and not names & _CONTENTS:
        return "vllm-bench"
    if "custom_id" in names and ("body" in names or ("response" in names and not names & _CONTENTS)):
        return "openai-batch"
    if {"timestamp", "input_length"} <= names and not names & {"arrival_time", "arrival_step"}:
        return "mooncake"
    return "sharegpt" if "conversations" in names and not names & _CONTENTS else OWN


def _names(text: bytes) -> set[str]:
    """Return the names in an object, and where `text` is not all of it, also those of nested objects."""
    try:
        return set(orjson.loads(text))
    except orjson.JSONDecodeError:
        return {name.decode(errors="replace") for name in _NAME.findall(text)}
