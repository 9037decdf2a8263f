"""Lists of profiles and presets."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from tracesim.profiles.presets import Preset
from tracesim.profiles.profile import Profile
from tracesim_cli.views.run_view import wrap

TRUST = (
    "The shape of these clocks is from measured kernels. Their scale is not calibrated: they are typically "
    "10 to 40 % too fast. The errors are those of the fit, against the estimator that has the measurements."
)


def list_profiles(profiles: Sequence[Profile], width: int) -> Iterator[str]:
    """Yield the profiles with their descriptions."""
    column = max((len(each.name) for each in profiles), default=0) + 2
    for each in profiles:
        first, *others = wrap(each.description.split(" "), width - column)
        yield f"{each.name:{column}}{first}"
        for line in others:
            yield f"{'':{column}}{line}"


def list_presets(presets: Sequence[Preset], width: int) -> Iterator[str]:
    """Yield a table of presets, and what their errors mean."""
    if not presets:
        return
    column = max(len(each.name) for each in presets) + 2
    yield f"{'preset':{column}}{'num_gpu_blocks':>14}{'mean error':>12}{'worst':>8}"
    for each in presets:
        errors = f"{100 * each.mean_error:10.1f} %{100 * each.worst_error:6.0f} %"
        yield f"{each.name:{column}}{each.num_gpu_blocks:>14,}{errors}"
    yield ""
    yield from wrap(TRUST.split(" "), width)


def describe_presets(presets: Collection[Preset], width: int) -> Iterator[str]:
    """Yield what presets there are, and how to find one."""
    gpus = sorted({each.name.partition("/")[0] for each in presets})
    text = (
        f"{len(presets):,} presets, named GPU/MODEL, or GPU/MODEL-tpN on N GPUs, have a clock and a number "
        f"of KV cache blocks. GPUs: {', '.join(gpus)}. `tracesim profiles h100 llama` finds some."
    )
    yield from wrap(text.split(" "), width)
