"""Fit the built-in presets to the kernel measurements of PyPI's aiconfigurator-core, and check them.

python tools/fit_presets.py fit engine/tracesim/profiles/built_in/presets.toml docs/reference/presets.md
python tools/fit_presets.py check engine/tracesim/profiles/built_in/presets.toml

It needs `pip install --group presets`: Linux on x86-64 with Python 3.11 to 3.13. A preset is a linear clock
and the number of KV cache blocks, for one model on one kind of GPU with one degree of tensor parallelism.
`fit` writes all of them, and the page with their errors. `check` compares some of them with the estimator at
batches that were not fitted, and times the estimator.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from aiconfigurator_core import sdk
from aiconfigurator_core.sdk.config_builders import build_model_config
from aiconfigurator_core.sdk.memory import estimate_kv_cache, estimate_num_gpu_blocks
from aiconfigurator_core.sdk.models import get_model
from aiconfigurator_core.sdk.rust_engine_step import RustForwardPassPerfModel
from scipy.optimize import nnls

PACKAGE = Path(sdk.__file__).parent.parent
VERSION = "0.12.0"
GIB = 1 << 30

GPUS = {
    "a100": ("a100_sxm", "NVIDIA A100 SXM"),
    "b200": ("b200_sxm", "NVIDIA B200"),
    "b300": ("b300_sxm", "NVIDIA B300"),
    "b60": ("b60", "Intel Arc Pro B60"),
    "gb200": ("gb200", "NVIDIA GB200"),
    "gb300": ("gb300", "NVIDIA GB300"),
    "h100": ("h100_sxm", "NVIDIA H100 SXM"),
    "h200": ("h200_sxm", "NVIDIA H200"),
    "l40s": ("l40s", "NVIDIA L40S"),
    "rtx-pro-6000": ("rtx_pro_6000_server", "NVIDIA RTX PRO 6000 Server"),
}
"""The package's name of each kind of GPU, and its own."""

BLOCK_SIZE, MEMORY_FRACTION = 16, 0.92
MIN_CACHE_TOKENS = 16_384
"""A preset whose KV cache has fewer tokens is of no use."""
MIN_WEIGHTS = 0.03
"""Tensor parallelism that leaves less of a GPU's memory to the weights is of no use."""
MAX_CONTEXT = 65_536
MAX_ERROR = 0.2
"""A preset whose mean error is larger is not written: its times are not those of a linear clock."""

FIRST = (32, 256)
COLUMNS = (
    "num_gpu_blocks",
    "base_us",
    *(f"first_{tokens}_ns" for tokens in FIRST),
    "prefill_ns",
    "decode_ns",
    "context_ps",
    "prefill_context_fs",
    "mean_error_percent",
    "worst_error_percent",
    "kv_cache_dtype",
)
PER_MILLISECOND = np.array([1e3, *(1e6 for _ in FIRST), 1e6, 1e6, 1e9, 1e12])
"""The units of the costs in the columns."""


WEIGHTS = {"decode": 1 / 2, "mixed": 1 / 3, "prefill": 1 / 6}
"""How much the batches of each kind weigh in a fit."""


class Step(NamedTuple):
    """A batch: prefills of `tokens` tokens after `before`, and decodes with `context`, all in sum."""

    prefills: int
    tokens: int
    before: int
    decodes: int
    context: int

    @property
    def kind(self) -> str:
        """What the batch has."""
        if self.tokens:
            return "mixed" if self.decodes else "prefill"
        return "decode"

    def costs(self) -> list[float]:
        """Return what each cost of a clock is multiplied with, in the order of the columns."""
        pairs = 0.0
        if self.prefills:
            chunk, before = self.tokens / self.prefills, self.before / self.prefills
            pairs = self.prefills * (chunk * before + chunk * (chunk - 1) / 2)
        computed = self.tokens + self.decodes
        first = [min(computed, tokens) for tokens in FIRST]
        return [1, *first, self.tokens, self.decodes, self.context, pairs]


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU: its memory in bytes, the version of vLLM measured on it, and vLLM's default limits."""

    name: str
    system: str
    title: str
    memory: int
    vllm: str
    profile: str
    max_num_batched_tokens: int
    max_num_seqs: int


def load_gpu(name: str) -> Gpu:
    """Return a kind of GPU as the package describes it, with the limits of `vllm serve` in vLLM 0.32."""
    system, title = GPUS[name]
    memory = yaml.safe_load((PACKAGE / "systems" / f"{system}.yaml").read_text())["gpu"]["mem_capacity"]
    versions = yaml.safe_load((PACKAGE / "systems" / "query_versions.yaml").read_text())
    vllm = {**versions["defaults"], **versions["overrides"].get(system, {})}["vllm"]["current"]
    if memory >= 160 * GIB:
        limits: tuple[str, int, int] = "vllm-serve-b200", 16384, 1024
    elif memory >= 70 * GIB and name != "a100":
        limits = "vllm-serve-h100", 8192, 1024
    else:
        limits = "vllm-serve", 2048, 256
    return Gpu(name, system, title, memory, vllm, *limits)


def model_names() -> dict[str, str]:
    """Return the Hugging Face names of all models that the package knows, by their names in presets."""
    files = (PACKAGE / "model_configs").glob("*_config.json")
    models = [file.name.removesuffix("_config.json").replace("--", "/", 1) for file in files]
    return {
        re.sub(r"^(meta|nvidia)-", "", model.split("/")[1].lower().replace("_", ".")): model
        for model in sorted(models)
        if not model.endswith("_hf_quant")
    }


def quantized_without_kv_cache(model: str) -> bool:
    """Return whether a checkpoint has quantized weights, and names no data type for its KV cache.

    vLLM keeps the KV cache of such a model in bfloat16; the package takes FP8.
    """
    stem = str(PACKAGE / "model_configs" / model.replace("/", "--"))
    config = json.loads(Path(f"{stem}_config.json").read_text())
    separate = Path(f"{stem}_hf_quant_config.json")
    inner = config.get("text_config") or {}
    quantization = config.get("quantization_config") or inner.get("quantization_config") or {}
    if separate.exists():
        quantization = quantization | json.loads(separate.read_text())["quantization"]
    is_sparse = bool((inner or config).get("compress_ratios"))  # DeepSeek V4 has FP8 in any case
    names_one = quantization.get("kv_cache_scheme") or quantization.get("kv_cache_quant_algo")
    return bool(quantization) and not names_one and not is_sparse


def own_kv_cache_dtype(model: str, tp: int) -> str:
    """Return the data type that the package takes for the KV cache of a model."""
    config = build_model_config(tp_size=tp, pp_size=1, attention_dp_size=1, moe_tp_size=tp, moe_ep_size=1)
    return str(get_model(model, config, "vllm").config.kvcache_quant_mode.name)


class Estimator:
    """The package's estimator for one model on one kind of GPU. Raises ValueError where it has no data."""

    def __init__(self, gpu: Gpu, model: str, tp: int) -> None:
        dtypes = ["bfloat16", None] if quantized_without_kv_cache(model) else [None]
        for dtype in dtypes:
            try:
                self._open(gpu, model, tp, dtype)
                return
            except Exception as error:
                failure = error
        raise ValueError(str(failure)) from failure

    def _open(self, gpu: Gpu, model: str, tp: int, kv_cache_dtype: str | None) -> None:
        self.request: dict[str, Any] = {
            "model_path": model,
            "system": gpu.system,
            "backend": "vllm",
            "backend_version": gpu.vllm,
            "max_num_tokens": gpu.max_num_batched_tokens,
            "max_batch_size": gpu.max_num_seqs,
            "memory_fraction_kind": "of_total",
            "memory_fraction_value": MEMORY_FRACTION,
            "tp_size": tp,
            "moe_tp_size": tp,
            "moe_ep_size": 1,
            "kvcache_quant_mode": kv_cache_dtype,
        }
        memory = estimate_kv_cache(**self.request)
        self.num_gpu_blocks = memory["total_kv_size_tokens"] // BLOCK_SIZE
        self.weights = memory["memory_breakdown"]["weights_bytes"]
        config: dict[str, Any] = {
            "schema_version": 1,
            "model_name": model,
            "model_path": model,
            "system_name": gpu.system,
            "backend": "vllm",
            "backend_version": gpu.vllm,
            "tp_size": tp,
            "pp_size": 1,
            "moe_tp_size": tp,
            "moe_ep_size": 1,
            "attention_dp_size": 1,
        }
        if kv_cache_dtype:
            config["kv_cache_dtype"] = kv_cache_dtype
        self._model = RustForwardPassPerfModel.from_native(config)
        self.milliseconds(Step(1, 512, 0, 8, 8 * 512))
        self.kv_cache_dtype = kv_cache_dtype or own_kv_cache_dtype(model, tp)

    def milliseconds(self, step: Step) -> float:
        """Return how long a step takes. Raises ValueError where the package has no data."""
        scheduled = {
            "num_prefill_requests": step.prefills,
            "sum_prefill_tokens": step.tokens,
            "var_prefill_length": 0.0,
            "sum_prefill_kv_tokens": step.before,
            "num_decode_requests": step.decodes,
            "sum_decode_kv_tokens": step.context,
            "var_decode_kv_tokens": 0.0,
        }
        about = {"version": 1, "worker_id": "", "dp_rank": 0, "counter_id": 0, "wall_time": 0.0}
        estimate = self._model.estimate_forward_pass_time_ms(
            {**about, "scheduled_requests": scheduled, "queued_requests": {}}
        )
        if not estimate:
            raise ValueError("the estimator has no time for this batch")
        return float(estimate)


def fitted_steps() -> Iterator[Step]:
    """Yield the batches that presets are fitted on: decodes only, prefills only, and both."""
    for decodes in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024):
        for context in (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536):
            yield Step(0, 0, 0, decodes, decodes * context)
    for tokens in (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384):
        for before in (0, 1024, 4096, 8192, 16384, 32768, 65536):
            yield Step(1, tokens, before, 0, 0)
        for prefills in (4, 16):
            yield Step(prefills, tokens, 0, 0, 0)
    for tokens in (128, 256, 512, 1024, 2048, 4096, 8192, 16384):
        for prefills, before in ((1, 0), (1, 4096), (1, 16384), (4, 0)):
            for decodes in (4, 16, 64, 256, 1024):
                for context in (256, 1024, 4096, 16384):
                    yield Step(prefills, tokens, before, decodes, decodes * context)


def other_steps() -> Iterator[Step]:
    """Yield batches between those that presets are fitted on."""
    for decodes in (3, 6, 12, 24, 48, 96, 192, 384, 768):
        for context in (90, 360, 1440, 5800, 23000):
            yield Step(0, 0, 0, decodes, decodes * context)
    for tokens in (90, 180, 360, 720, 1450, 2900, 5800, 11600):
        for before in (0, 2900, 23000):
            yield Step(1, tokens, before, 0, 0)
        for decodes in (6, 48, 192, 768):
            for context in (720, 5800):
                yield Step(2, tokens, 2900, decodes, decodes * context)


def served_steps(steps: Iterable[Step], gpu: Gpu, num_gpu_blocks: int) -> list[Step]:
    """Return the steps that vLLM's default limits and the KV cache allow."""
    return [
        step
        for step in steps
        if step.decodes <= gpu.max_num_seqs
        and step.tokens + step.decodes <= gpu.max_num_batched_tokens
        and step.before + step.tokens + step.context + step.decodes <= num_gpu_blocks * BLOCK_SIZE
    ]


def weights_of(steps: list[Step]) -> Any:
    """Return the weight of each step, 1 in sum: the more often a server runs its kind, the more it weighs."""
    kinds = [step.kind for step in steps]
    return np.array([WEIGHTS[kind] / kinds.count(kind) for kind in kinds])


class Fit(NamedTuple):
    """A fitted clock: its costs in the units of the columns, and its mean and its worst relative error.

    The mean has the weights of the fit.
    """

    costs: list[int]
    mean_error: float
    worst_error: float


def errors_of(costs: Iterable[float], steps: list[Step], times: Any) -> Any:
    """Return the relative errors of a clock with these costs, in the units of the columns."""
    predicted = np.array([step.costs() for step in steps]) @ (np.array(list(costs)) / PER_MILLISECOND)
    return predicted / times - 1


def fit(steps: list[Step], times: Any) -> Fit:
    """Fit costs that are not negative, by weighted least squares of the relative error."""
    weights = weights_of(steps)
    root = np.sqrt(weights)
    matrix = np.array([step.costs() for step in steps]) / times[:, None]
    scale = np.abs(matrix).max(axis=0)
    scale[scale == 0] = 1
    solution, _ = nnls(matrix / scale * root[:, None], root)
    costs = [round_to(each, 4) for each in solution / scale * PER_MILLISECOND]
    errors = np.abs(errors_of(costs, steps, times))
    return Fit(costs, float(errors @ weights), float(errors.max()))


def round_to(number: float, digits: int) -> int:
    """Return a number with so many digits that count."""
    return round(float(f"{number:.{digits - 1}e}"))


@dataclass(frozen=True)
class Preset:
    """A preset: its row of the file."""

    name: str
    num_gpu_blocks: int
    fit: Fit
    kv_cache_dtype: str

    def row(self) -> str:
        """Return the line of the file."""
        errors = [f"{100 * each:.1f}" for each in (self.fit.mean_error, self.fit.worst_error)]
        numbers = [*map(str, (self.num_gpu_blocks, *self.fit.costs)), *errors]
        return f'"{self.name}" = [{", ".join(numbers)}, "{self.kv_cache_dtype}"]'


def presets_of(gpu: Gpu) -> Iterator[Preset]:
    """Yield a preset for each model, with each degree of tensor parallelism that makes sense on this GPU.

    More than 8 GPUs are those of several machines: only for models that 8 are too small for.
    """
    for name, model in model_names().items():
        smallest = 0
        for tp in (1, 2, 4, 8, 16):
            if tp > 8 and smallest:
                break
            try:
                estimator = Estimator(gpu, model, tp)
                if estimator.num_gpu_blocks * BLOCK_SIZE < MIN_CACHE_TOKENS:
                    raise ValueError("the KV cache is too small")
                if tp > 1 and estimator.weights < MIN_WEIGHTS * gpu.memory:
                    break
                steps = served_steps(fitted_steps(), gpu, estimator.num_gpu_blocks)
                times = np.array([estimator.milliseconds(step) for step in steps])
            except ValueError as error:
                print(f"{gpu.name}/{name} on {tp}: {str(error)[:120]}", file=sys.stderr)
                continue
            smallest = smallest or tp
            full_name = f"{name}-tp{tp}" if tp > 1 else name
            found = fit(steps, times)
            yield Preset(full_name, estimator.num_gpu_blocks, found, estimator.kv_cache_dtype)


HEADER = f"""\
# Built-in presets: for models on kinds of GPU a linear clock and the number of KV cache blocks.
#
# Fitted by tools/fit_presets.py to estimates of aiconfigurator-core {VERSION} from its measurements of the
# kernels of vLLM. aiconfigurator-core is Copyright (c) 2025-2026 NVIDIA CORPORATION & AFFILIATES and licensed
# under the Apache License, Version 2.0, which is in LICENSE. The measurements are not part of this file.
#
# A preset is NAME = [
#     {", ".join(COLUMNS[:5])},
#     {", ".join(COLUMNS[5:])}
# ]
# The errors are those against the estimator over the batches that it was fitted on: up to max_num_seqs decode
# requests and max_num_batched_tokens tokens of the GPU's profile, and {MAX_CONTEXT} tokens of each request.
# In the mean, as in the fit, decodes weigh a half, steps with both a third, and prefills a sixth.

package = "aiconfigurator-core {VERSION}"
url = "https://pypi.org/project/aiconfigurator-core/{VERSION}/"
license = "Apache-2.0"
max_context_tokens = {MAX_CONTEXT}
"""


def write_presets(path: Path, page: Path) -> None:
    """Fit all presets, and write the file and the page of their errors."""
    names = model_names()
    found: dict[str, list[Preset]] = {}
    failed: list[str] = []
    parts = [HEADER]
    for gpu in map(load_gpu, GPUS):
        fitted = list(presets_of(gpu))
        found[gpu.name] = [preset for preset in fitted if preset.fit.mean_error <= MAX_ERROR]
        failed += [f"{gpu.name}/{each.name}" for each in fitted if each.fit.mean_error > MAX_ERROR]
        parts.append(
            f'\n[gpus.{gpu.name}]\ntitle = "{gpu.title}"\nmemory = "{gpu.memory / GIB:g}GiB"\n'
            f'vllm = "{gpu.vllm}"\nprofile = "{gpu.profile}"\n\n[gpus.{gpu.name}.presets]\n'
        )
        parts += [f"{preset.row()}\n" for preset in found[gpu.name]]
        print(f"{gpu.name}: {len(found[gpu.name])} presets", file=sys.stderr)
    used = {model_of(preset.name) for presets in found.values() for preset in presets}
    parts.append("\n[models]\n")
    parts += [f'"{name}" = "{model}"\n' for name, model in names.items() if name in used]
    path.write_text("".join(parts), encoding="utf-8")
    page.write_text(page_of(found, failed), encoding="utf-8")


def model_of(name: str) -> str:
    """Return the model's part of a preset's name."""
    return re.sub(r"-tp[0-9]+$", "", name)


PAGE = """\
# Presets and their errors

[Presets](../guide/profiles.md#presets) are linear clocks, fitted to estimates of the package
aiconfigurator-core {version}. This page has the relative error of each against that estimator, over the
batches that it was fitted on: the mean, and after the stroke the worst, in percent. In the mean, as in the
fit, steps with decodes alone weigh a half, those with prefills and decodes a third, and those with prefills
alone a sixth: in a server most steps decode. `tools/fit_presets.py` writes this page.

The estimator's own error against a real server comes on top: typically it is 10 to 40 % too fast.

There are {total:,} presets.

{summary}

Another {num_failed} were fitted and are not built in, because their mean error is over {max_error} %. The
sparse attention of most of these models does not take time in proportion to the context, as a linear clock
does: {failed}.

{table}
"""


def page_of(found: dict[str, list[Preset]], failed: list[str]) -> str:
    """Return the page of errors, with a row for each model and number of GPUs and a column for each kind."""
    cells = {
        (gpu, preset.name): f"{100 * preset.fit.mean_error:.1f} / {100 * preset.fit.worst_error:.0f}"
        for gpu, presets in found.items()
        for preset in presets
    }
    summary = ["| GPU | presets | mean error, median over presets | worst preset |", "|---|---|---|---|"]
    for gpu, presets in found.items():
        means = sorted(100 * preset.fit.mean_error for preset in presets)
        summary.append(f"| `{gpu}` | {len(presets)} | {np.median(means):.1f} % | {means[-1]:.1f} % |")
    gpus = list(found)
    rows = [f"| model | {' | '.join(gpus)} |", f"|---|{'---|' * len(gpus)}"]
    rows += [
        f"| `{name}` | {' | '.join(cells.get((gpu, name), '') for gpu in gpus)} |"
        for name in sorted({name for _, name in cells})
    ]
    return PAGE.format(
        version=VERSION,
        total=sum(map(len, found.values())),
        num_failed=len(failed),
        max_error=round(100 * MAX_ERROR),
        failed=", ".join(sorted({model_of(each.partition("/")[2]) for each in failed})),
        summary="\n".join(summary),
        table="\n".join(rows),
    )


CHECKED = (
    "a100/llama-3.1-8b",
    "h100/llama-3.1-8b",
    "h100/llama-3.1-70b-tp4",
    "h100/qwen3-30b-a3b",
    "h100/gpt-oss-120b-tp2",
    "h200/deepseek-v3-tp8",
    "b200/qwen3-32b",
    "b200/gpt-oss-120b",
    "l40s/qwen3-8b",
    "rtx-pro-6000/gpt-oss-120b",
)
"""The presets that are compared with the estimator at batches that were not fitted."""


def check(path: Path) -> None:
    """Compare presets with the estimator, and print a table of it and how long the estimator takes."""
    import tomllib

    document = tomllib.loads(path.read_text(encoding="utf-8"))
    print("| preset | blocks | estimated | batches | decode | prefill | mixed | worst |")
    print("|---|---|---|---|---|---|---|---|")
    seconds, calls = 0.0, 0
    for name in CHECKED:
        gpu_name, _, preset = name.partition("/")
        blocks, *costs = document["gpus"][gpu_name]["presets"][preset][: 1 + len(PER_MILLISECOND)]
        model = document["models"][model_of(preset)]
        tp = int(preset.rpartition("-tp")[2]) if model_of(preset) != preset else 1
        gpu = load_gpu(gpu_name)
        estimator = Estimator(gpu, model, tp)
        steps = served_steps(other_steps(), gpu, estimator.num_gpu_blocks)
        start = time.perf_counter()
        times = np.array([estimator.milliseconds(step) for step in steps])
        seconds, calls = seconds + time.perf_counter() - start, calls + len(steps)
        errors = np.abs(errors_of(costs, steps, times))
        kinds = np.array([step.kind for step in steps])
        means = [f"{100 * errors[kinds == kind].mean():.1f} %" for kind in ("decode", "prefill", "mixed")]
        estimated = estimate_num_gpu_blocks(scheduler_block_size=BLOCK_SIZE, **estimator.request)
        figures = [f"{blocks:,}", f"{estimated:,}", str(len(steps)), *means]
        print(f"| `{name}` | {' | '.join(figures)} | {100 * errors.max():.0f} % |")
    print(f"\nThe estimator took {1e6 * seconds / calls:.0f} us a batch, over {calls:,} batches.")


def main() -> None:
    """Run the command of the command line."""
    logging.disable(logging.CRITICAL)
    if sys.argv[1] == "fit":
        write_presets(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        check(Path(sys.argv[2]))


if __name__ == "__main__":
    main()
