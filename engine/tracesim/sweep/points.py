"""The points of a sweep: which settings vary, and the complete settings of every combination."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, Final

import orjson

from tracesim.cluster.routers import parse_router
from tracesim.config import EngineArgs, Setting, all_settings
from tracesim.errors import ConfigError, brief
from tracesim.limits import MAX_FACTOR
from tracesim.profiles.profile import Profile, engine_args_from_profiles, load_profile
from tracesim.timing.arrival_process import parse_arrivals
from tracesim.timing.clock import parse_clock

MAX_POINTS: Final = 1_000_000

_BOOLEANS: Final = {"true": True, "false": False}

_RATE: Final = Setting(
    "Arrivals per second: the rate of `arrivals`, which are poisson if that has no rate.",
    {},
    over=0,
    at_most=MAX_FACTOR,
    name="rate",
    type=float,
)
_PROFILE: Final = Setting("Profile that the point takes its settings from.", {}, name="profile", type=str)


@dataclass(frozen=True, slots=True)
class Point:
    """One replay of a sweep.

    `varied` has the values that tell it from other points, by name as they were given, and `args` all its
    settings. A replica takes `gpus_per_replica` GPUs.
    """

    varied: Mapping[str, Any]
    args: EngineArgs
    gpus_per_replica: int = 1

    @property
    def gpus(self) -> int:
        """The number of GPUs of all replicas."""
        return self.gpus_per_replica * self.args.replicas

    def but(self, **values: Any) -> Point:
        """Return the point with other values of some settings, which are among its `varied` ones then.

        `rate` is one of those names. Raises ConfigError for a value that is not accepted.
        """
        settings = {name: getattr(self.args, name) for name in all_settings()} | values
        if "rate" in settings:
            settings["arrivals"] = arrivals_with_rate(settings["arrivals"], settings.pop("rate"))
        args = EngineArgs(**settings)
        _check_texts(args)
        return Point({**self.varied, **values}, args, self.gpus_per_replica)


@cache
def _sweep_settings() -> Mapping[str, Setting]:
    """Return everything that can vary, by name."""
    settings = {name: each for name, each in all_settings().items() if not each.is_repeatable}
    settings |= {each.alias: each for each in settings.values() if each.alias}
    return settings | {"rate": _RATE, "profile": _PROFILE}


def parse_values(text: str, option: str = "vary") -> tuple[str, Sequence[Any]]:
    """Return the name and the values of a text such as `max_num_seqs=64,256`.

    Values are separated by commas or, where they contain some, given as a list in JSON:
    `clock=["linear:base=5ms,decode=1us", "constant:20ms"]`. Names are those of `EngineArgs`, also with `-`,
    and `rate` and `profile`. Raises ConfigError, which calls the setting `option`.
    """
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise ConfigError(f"is {brief(text)}; must be NAME=VALUE,VALUE,...", setting=option)
    declared = find_setting(name.strip(), option)
    if values.startswith("["):
        try:
            items = orjson.loads(values)
        except orjson.JSONDecodeError as error:
            raise ConfigError(
                f"is {brief(text)}, whose list is not valid JSON: {error}", setting=option
            ) from None
    else:
        items = [_typed(each.strip(), declared) for each in values.split(",")]
    return declared.name, checked_values(declared, items, option)


def parse_value(text: str, option: str = "set") -> tuple[str, Any]:
    """Return the name and the value of a text such as `max_num_seqs=64`; the value may contain commas.

    Raises ConfigError, which calls the setting `option`.
    """
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise ConfigError(f"is {brief(text)}; must be NAME=VALUE", setting=option)
    declared = find_setting(name.strip(), option)
    (checked,) = checked_values(declared, [_typed(value.strip(), declared)], option)
    return declared.name, checked


def find_setting(name: str, option: str) -> Setting:
    """Return what is declared about a setting of a sweep. Raises ConfigError, which calls it `option`."""
    settings = _sweep_settings()
    declared = settings.get(name.replace("-", "_"))
    if declared is None:
        from difflib import get_close_matches

        close = get_close_matches(name.replace("-", "_"), settings, cutoff=0.6)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(settings)}"
        raise ConfigError(f"names {brief(name)}, which is no setting of a replay; {hint}", setting=option)
    return declared


def checked_values(declared: Setting, values: Sequence[Any], option: str) -> Sequence[Any]:
    """Return the values of a setting, each once. Raises ConfigError for one that is not accepted."""
    for value in values:
        if value is None and declared.is_optional:
            continue
        try:
            declared.check(value)
        except ConfigError as error:
            raise ConfigError(error.problem, setting=f"{option}: {declared.name}") from None
    return list(dict.fromkeys(values))


def _typed(text: str, declared: Setting) -> Any:
    """Return a value of a command line with the type of its setting; the text itself if it has another."""
    if declared.is_optional and text in ("none", "null"):
        return None
    if declared.type is bool:
        return _BOOLEANS.get(text.lower(), text)
    if declared.type in (int, float):
        for number in (int, declared.type):
            try:
                value = number(text)
            except ValueError:
                continue
            return value if math.isfinite(value) else text
    return text


def grid(varied: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of these values, in the order of nested loops: the last name varies fastest.

    Raises ConfigError if there are over `MAX_POINTS`.
    """
    if math.prod(map(len, varied.values())) > MAX_POINTS:
        raise ConfigError(f"has over {MAX_POINTS:,} combinations; take a sample of fewer", setting="vary")
    return [dict(zip(varied, values, strict=True)) for values in product(*varied.values())]


def sample(varied: Mapping[str, Sequence[Any]], number: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return so many different combinations at random, in the grid's order; all of them if there are fewer.

    The grid itself may be of any size.
    """
    sizes = [len(values) for values in varied.values()]
    total = math.prod(sizes)
    if number >= total:
        return grid(varied)
    combinations = []
    for index in sorted(_random_indices(total, number, seed)):
        places = []
        for size in reversed(sizes):
            index, place = divmod(index, size)
            places.append(place)
        chosen = zip(varied.items(), reversed(places), strict=True)
        combinations.append({name: values[place] for (name, values), place in chosen})
    return combinations


def _random_indices(total: int, number: int, seed: int) -> set[int]:
    """Return so many different numbers below `total`, which may be greater than `sys.maxsize`."""
    generator = random.Random(seed)
    chosen: set[int] = set()
    while len(chosen) < number:
        chosen.add(generator.randrange(total))
    return chosen


def make_points(
    combinations: Iterable[Mapping[str, Any]],
    *,
    profiles: Sequence[Profile | str] = (),
    settings: Mapping[str, Any] | None = None,
) -> list[Point]:
    """Return the points of these combinations, with `profiles` and `settings` that hold for all of them.

    A combination may have any setting, `rate`, and `profile`, which overrides the others. Raises ConfigError
    for a combination that no replay accepts, with its values.
    """
    loaded = [each if isinstance(each, Profile) else load_profile(each) for each in profiles]
    load_once = cache(load_profile)
    points = []
    for combination in combinations:
        values = {**(settings or {}), **combination}
        used = [*loaded, load_once(values.pop("profile"))] if "profile" in values else loaded
        try:
            args = _args(used, values)
        except ConfigError as error:
            where = f" (in the point {describe(combination)})" if combination else ""
            raise ConfigError(f"{error.problem}{where}", setting=error.setting) from None
        gpus = [each.source["tensor_parallel_size"] for each in used if "tensor_parallel_size" in each.source]
        points.append(Point(dict(combination), args, gpus[-1] if gpus else 1))
    return points


def _args(profiles: Sequence[Profile], values: dict[str, Any]) -> EngineArgs:
    """Return the settings of a point. Raises ConfigError for one that no replay accepts."""
    rate = values.pop("rate", None)
    args = engine_args_from_profiles(profiles, **values)
    if rate is not None:
        values["arrivals"] = arrivals_with_rate(args.arrivals, rate)
        args = engine_args_from_profiles(profiles, **values)
    _check_texts(args)
    return args


def _check_texts(args: EngineArgs) -> None:
    """Raise ConfigError for a setting whose text means nothing."""
    parse_clock(args.clock)
    parse_arrivals(args.arrivals, args.speedup, args.seed, args.sessions)
    parse_router(args.router, args.seed)


def arrivals_with_rate(arrivals: str, rate: float) -> str:
    """Return a value of `arrivals` with another rate; arrivals without a rate become those of a Poisson."""
    kind, *parts = arrivals.split(":")
    if kind in ("trace", "asap", "closed"):
        kind, parts = "poisson", [""]
    return ":".join([kind, f"{rate:.12g}", *parts[1:]])


def describe(varied: Mapping[str, Any]) -> str:
    """Return the values of a point in one line, such as `max_num_seqs=64 rate=2.5`."""
    return " ".join(f"{name}={written(value)}" for name, value in varied.items())


def written(value: Any) -> str:
    """Return a value as `parse_values` reads it."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def varying(points: Iterable[Point]) -> Iterator[str]:
    """Yield the names that any of these points varies, in their order."""
    yield from dict.fromkeys(name for point in points for name in point.varied)
