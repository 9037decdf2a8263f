"""The names of the trace formats."""

from __future__ import annotations

from typing import Final, Literal, get_args

FormatName = Literal[
    "tracesim",
    "mooncake",
    "bailian",
    "azure",
    "burstgpt",
    "vidur",
    "sharegpt",
    "messages",
    "wildchat",
    "openai-batch",
    "litellm",
    "opentelemetry",
    "weka",
    "tracelab",
    "vllm-bench",
    "llmservingsim",
]

FORMATS: Final[tuple[FormatName, ...]] = get_args(FormatName)
OWN: Final = "tracesim"
