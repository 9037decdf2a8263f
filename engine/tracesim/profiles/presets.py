"""Presets: built-in profiles for a model on a kind of GPU, named GPU/MODEL, or GPU/MODEL-tpN for N GPUs.

Their numbers are rows of one file, `built_in/presets.toml`, which is read when one is asked for. Its head has
the meaning of the columns, and how they were fitted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from tracesim.toml_file import read_toml

_FILE: Final = Path(__file__).with_name("built_in") / "presets.toml"

_PARTS: Final = re.compile(r"[/\s-]+")

_PARALLEL: Final = re.compile(r"-tp(?P<gpus>[0-9]+)$")

_CLOCK: Final = (
    ("base", "us"),
    ("first_32", "ns"),
    ("first_256", "ns"),
    ("prefill", "ns"),
    ("decode", "ns"),
    ("context", "ps"),
    ("prefill_context", "fs"),
)
"""The costs in a row, in their order, with their units."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A preset: what it is for, and its numbers.

    `model` is the name on Hugging Face, `gpus` the number of GPUs of tensor parallelism, `gpu` the kind of
    GPU and `memory` its memory. `vllm` is the version whose kernels were measured, and `package` what has the
    measurements. `profile` is the profile of vLLM's default limits on this GPU. `clock` has the costs as they
    are written in a profile. The errors are fractions, against the estimator to which the clock was fitted.
    """

    name: str
    model: str
    gpu: str
    gpus: int
    memory: str
    vllm: str
    package: str
    url: str
    profile: str
    max_context_tokens: int
    num_gpu_blocks: int
    clock: Mapping[str, str]
    mean_error: float
    worst_error: float
    kv_cache_dtype: str

    @property
    def description(self) -> str:
        """What the preset is for, and how far it can be trusted."""
        gpus = f"{self.gpus} x {self.gpu}" if self.gpus > 1 else f"one {self.gpu}"
        return (
            f"{self.model} on {gpus} ({self.memory}). The shape is from measured kernels; the scale is not "
            "calibrated: typically 10 to 40 % too fast."
        )

    def text(self, limits: Mapping[str, Any]) -> str:
        """Return the preset as the text of a profile; `limits` are the settings of its `profile`."""
        settings = {**limits, "num_gpu_blocks": self.num_gpu_blocks}
        fitted = (
            f"{{ decode_requests = {limits['max_num_seqs']}, prefill_tokens = "
            f"{limits['max_num_batched_tokens']}, context_tokens = {self.max_context_tokens} }}"
        )
        lines = [
            "[source]",
            f'description = "{self.description}"',
            f'url = "{self.url}"',
            f'origin = "Fitted to estimates of {self.package} (Apache-2.0, NVIDIA) for vLLM {self.vllm}."',
            'scale = "not calibrated"',
            f"mean_error = {self.mean_error:.3f}",
            f"worst_error = {self.worst_error:.3f}",
            f"fitted_on = {fitted}",
            f"tensor_parallel_size = {self.gpus}",
            f'kv_cache_dtype = "{self.kv_cache_dtype}"',
            f'limits = "{self.profile}"',
            "",
            "[engine]",
            *(f"{name} = {_toml(value)}" for name, value in settings.items()),
            "",
            "[clock]",
            *(f'{cost} = "{value}"' for cost, value in self.clock.items()),
        ]
        return "\n".join(lines) + "\n"


@cache
def presets() -> Mapping[str, Preset]:
    """Return all presets by name, in alphabetical order."""
    document = read_toml(_FILE, "profile").document
    found = {}
    for gpu, about in document["gpus"].items():
        for row_name, row in about["presets"].items():
            match = _PARALLEL.search(row_name)
            blocks, *costs, mean, worst, kv_cache_dtype = row
            found[f"{gpu}/{row_name}"] = Preset(
                name=f"{gpu}/{row_name}",
                model=document["models"][_PARALLEL.sub("", row_name)],
                gpu=about["title"],
                gpus=int(match["gpus"]) if match else 1,
                memory=about["memory"].replace("GiB", " GiB"),
                vllm=about["vllm"],
                package=document["package"],
                url=document["url"],
                profile=about["profile"],
                max_context_tokens=document["max_context_tokens"],
                num_gpu_blocks=blocks,
                clock={
                    cost: f"{value}{unit}" for (cost, unit), value in zip(_CLOCK, costs, strict=True) if value
                },
                mean_error=mean / 100,
                worst_error=worst / 100,
                kv_cache_dtype=kv_cache_dtype,
            )
    return dict(sorted(found.items()))


def find_presets(words: Iterable[str]) -> Sequence[Preset]:
    """Return the presets in whose name, model or GPU each of these words is, in any case of letters."""
    wanted = [word.lower() for word in words]
    return [
        preset
        for preset in presets().values()
        if all(word in f"{preset.name} {preset.model} {preset.gpu}".lower() for word in wanted)
    ]


def similar_presets(name: str) -> list[str]:
    """Return the names of up to three presets that have at least two parts of `name`, best ones first.

    Parts are what is between `/` and `-`: `h100`, `llama`, `3.1` and `8b`.
    """
    wanted = set(_PARTS.split(name.lower()))
    ranked = []
    for each in presets():
        parts = set(_PARTS.split(each))
        if len(parts & wanted) >= 2:
            ranked.append((len(parts - wanted) - 2 * len(parts & wanted), each))
    return [each for _, each in sorted(ranked)[:3]]


def _toml(value: Any) -> str:
    """Return a setting as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
