"""What `tracesim calibrate` prints: the clock, and its errors on what was not fitted."""

from __future__ import annotations

from collections.abc import Iterator

from tracesim.calibration.calibrate import Calibration
from tracesim.timing.calibration import costs_of
from tracesim.timing.clock import written_duration
from tracesim_cli.terminal.text import counted

_NAMES = {"e2e": "E2E", "ttft": "TTFT", "tpot": "TPOT", "step": "step duration"}


def format_calibration(calibration: Calibration) -> Iterator[str]:
    """Yield the lines."""
    unit = calibration.unit.removesuffix("s")
    fitted = f"{counted(calibration.num_fitted, unit)} from {calibration.kind}"
    yield f"{'fitted':14}{fitted}"
    yield f"{'scored':14}{counted(calibration.num_scored, unit)}, which came after them"
    costs = [(name, cost) for name, cost in costs_of(calibration.clock).items() if cost]
    yield f"{'clock':14}linear:{','.join(f'{name}={written_duration(cost)}' for name, cost in costs)}"
    if calibration.overhead:
        yield (
            f"{'overhead':14}{calibration.overhead * 1000:.3g} ms per request outside the engine, which a "
            "replay does not add"
        )
    yield f"{'error of the scored':19}{'mean':>9}{'p50':>9}{'p99':>9}{'each':>9}"
    for name, errors in calibration.errors.items():
        figures = "".join(f"{value:+9.1%}" for value in (errors.mean, errors.p50, errors.p99))
        yield f"{_NAMES[name]:19}{figures}{errors.each:9.1%}"
