"""The limits of a response, with vLLM's names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tracesim.config import ResponseSettings, is_unicode, settings_of
from tracesim.errors import ConfigError
from tracesim.trace.record import TraceRecord

_SETTINGS = settings_of(ResponseSettings)


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """The limits of one response. Where one is None, the recording's own field applies, if it has one.

    `max_tokens` and `min_tokens` count output tokens. `stop` is a string or a sequence of strings, the first
    of which that is complete ends the output; it is cut before the string, or after it with
    `include_stop_str_in_output`. A recording cannot be made longer, so all that `min_tokens` does is to
    ignore stop strings before it.

    Raises ConfigError for a limit out of range, an empty stop string, or a value of a wrong type.
    """

    max_tokens: int | None = None
    min_tokens: int | None = None
    stop: str | Sequence[str] | None = None
    include_stop_str_in_output: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", _stop_strings(self.stop))
        _SETTINGS["include_stop_str_in_output"].check(self.include_stop_str_in_output)
        if self.max_tokens is not None:
            _SETTINGS["max_tokens"].check(self.max_tokens)
        if self.min_tokens is not None:
            _SETTINGS["min_tokens"].check(self.min_tokens)
        if self.max_tokens is not None and (self.min_tokens or 0) > self.max_tokens:
            raise ConfigError(
                f"is {self.min_tokens}; must be at most max_tokens, {self.max_tokens}", setting="min_tokens"
            )

    @property
    def stop_strings(self) -> Sequence[str]:
        """The stop strings; of several that complete at once, the first ends the output."""
        return self.stop or ()

    def over(self, record: TraceRecord) -> SamplingParams:
        """Return these parameters with the record's own fields where these are None."""
        if record.max_tokens is None and record.min_tokens is None and record.stop is None:
            return self
        max_tokens = record.max_tokens if self.max_tokens is None else self.max_tokens
        min_tokens = record.min_tokens if self.min_tokens is None else self.min_tokens
        if max_tokens is not None and min_tokens is not None:
            # They may come from different places, and no token comes after max_tokens.
            min_tokens = min(min_tokens, max_tokens)
        return SamplingParams(
            max_tokens=max_tokens,
            min_tokens=min_tokens,
            stop=record.stop if self.stop is None else self.stop,
            include_stop_str_in_output=self.include_stop_str_in_output,
        )


def _stop_strings(stop: object) -> tuple[str, ...] | None:
    """Return `stop` as a tuple. Raises ConfigError unless it is None, a string or a sequence of strings."""
    if stop is None:
        return None
    if not isinstance(stop, Sequence):
        raise ConfigError(f"is {stop!r}; must be a string or a list of strings", setting="stop")
    strings = (stop,) if isinstance(stop, str) else tuple(stop)
    for string in strings:
        if not isinstance(string, str):
            raise ConfigError(f"has {string!r}; must be a string or a list of strings", setting="stop")
        if not string:
            raise ConfigError(
                "has an empty string; a stop string needs at least one character", setting="stop"
            )
        if not is_unicode(string):
            raise ConfigError(f"has {string!a}; must be text in UTF-8", setting="stop")
    return strings
