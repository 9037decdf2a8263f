"""The profile that a calibration writes: clock, settings, and how far they can be trusted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tracesim.calibration.calibrate import Calibration
from tracesim.config import EngineArgs, EngineSettings, settings_of
from tracesim.timing.calibration import costs_of
from tracesim.timing.clock import written_duration


def profile_text(calibration: Calibration, args: EngineArgs, measured: Sequence[str], **source: Any) -> str:
    """Return the profile as TOML: `--profile` takes it. `source` has more about where the figures come from.

    `[engine]` has the settings that are not the engine's defaults, `[source.errors]` the relative errors of
    what was scored: 0.02 is 2 % too long.
    """
    changed = args.changed()
    engine = {name: changed[name] for name in settings_of(EngineSettings) if name in changed}
    costs = {name: cost for name, cost in costs_of(calibration.clock).items() if cost or name == "base"}
    unit = calibration.unit
    about = f"Fitted to {calibration.num_fitted:,} {unit} from {calibration.kind}"
    tables: dict[str, Mapping[str, Any]] = {
        "engine": {"engine": args.engine, **engine},
        "clock": {name: written_duration(cost) for name, cost in costs.items()},
        "source": {
            "description": f"{about}, and scored on the {calibration.num_scored:,} after them.",
            "measured": list(measured),
            **source,
            f"fitted_{unit}": calibration.num_fitted,
            f"scored_{unit}": calibration.num_scored,
            **({"request_overhead": round(calibration.overhead, 6)} if calibration.overhead else {}),
            "warnings": list(calibration.warnings),
        },
    }
    for name, errors in calibration.errors.items():
        tables[f"source.errors.{name}"] = {
            key: value if key == "count" else round(value, 5) for key, value in asdict(errors).items()
        }
    return "\n".join(line for name, table in tables.items() for line in _table(name, table))


def _table(name: str, table: Mapping[str, Any]) -> Iterator[str]:
    yield f"[{name}]"
    for key, value in table.items():
        yield f"{key} = {_value(value)}"
    yield ""


def _value(value: Any) -> str:
    """Return a value as TOML: its strings are like those of JSON, except for one character."""
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", r"\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)
