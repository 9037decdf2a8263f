"""The parameter files of `vllm bench sweep serve`, read as they are: `--serve-params` and `--bench-params`.

Such a file has a list of objects, or an object of objects by name. A name has `-` or `_`. Each object is a
combination of parameters; the combinations of the two files are crossed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from tracesim.errors import ConfigError, brief
from tracesim.sweep.points import checked_values, find_setting

_NAME: Final = "_benchmark_name"
_OTHER_NAMES: Final = {"data_parallel_size": "replicas"}


def read_params(path: str | Path, option: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the combinations of a file as settings of a replay, and the parameters that have no counterpart.

    `request_rate` is `rate`, or arrivals all at once where it is "inf"; `max_concurrency` without a rate is
    that many users. Raises ConfigError, which calls the file's setting `option`, for a file that is not of
    this kind, a value that is not accepted, and a parameter without a counterpart that differs between
    combinations: its effect cannot be replayed.
    """
    combinations = _combinations(path, option)
    names = dict.fromkeys(name for each in combinations for name in each)
    ignored = [name for name in names if not _is_known(name)]
    for name in ignored:
        values = [each.get(name) for each in combinations]
        if any(value != values[0] for value in values):
            raise ConfigError(
                f"is {path}, whose combinations differ in {name}, which a replay does not have; remove it",
                setting=option,
            )
    return [_settings(each, ignored, option) for each in combinations], ignored


def _combinations(path: str | Path, option: str) -> list[dict[str, Any]]:
    """Return the objects of a file, their names with `_`. Raises ConfigError."""
    try:
        document = orjson.loads(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(f"is {path}, which cannot be read: {error.strerror}", setting=option) from None
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"is {path}, which is not valid JSON: {error}", setting=option) from None
    if isinstance(document, dict):
        document = list(document.values())
    if not isinstance(document, list) or not all(isinstance(each, dict) for each in document) or not document:
        raise ConfigError(
            f"is {path}, which must have a list of objects, or an object of objects by name", setting=option
        )
    return [
        {name.replace("-", "_"): value for name, value in each.items() if name != _NAME} for each in document
    ]


def _is_known(name: str) -> bool:
    if name in ("request_rate", "max_concurrency"):
        return True
    try:
        find_setting(_OTHER_NAMES.get(name, name), "")
    except ConfigError:
        return False
    return True


def _settings(params: Mapping[str, Any], ignored: Sequence[str], option: str) -> dict[str, Any]:
    """Return a combination as settings of a replay. Raises ConfigError."""
    settings: dict[str, Any] = {}
    rate, users = params.get("request_rate"), params.get("max_concurrency")
    if rate is not None and str(rate) != "inf":
        (settings["rate"],) = checked_values(find_setting("rate", option), [rate], option)
        if users is not None:
            raise ConfigError(
                f"has request_rate {brief(rate)} with max_concurrency {brief(users)}; give one of them",
                setting=option,
            )
    elif users is not None:
        settings["arrivals"] = f"closed:{users}"
    elif rate is not None:
        settings["arrivals"] = "asap"
    for name, value in params.items():
        if name not in ("request_rate", "max_concurrency", *ignored):
            declared = find_setting(_OTHER_NAMES.get(name, name), option)
            (settings[declared.name],) = checked_values(declared, [value], option)
    return settings
