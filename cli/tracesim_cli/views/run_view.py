"""What was run: the lines that lead a summary and a page, and the `config` of a report."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.cells import cell_len

from tracesim.config import EngineArgs
from tracesim.profiles.profile import Profile
from tracesim_cli.terminal.safe_text import visible

_ENGINES: Final = {
    "simple": "prefill first, not a scheduler of vLLM",
    "vllm-v0": "as in vLLM 0.8.5",
    "vllm-v1": "as in vLLM 0.32",
}
_UNCALIBRATED: Final = "not calibrated: typically 10 to 40 % too fast"
_MAX_TRACES: Final = 5


@dataclass(frozen=True)
class RunSettings:
    """The settings of a replay: `args` have those of the `profiles`; `limit` is the most records read."""

    args: EngineArgs
    profiles: Sequence[Profile]
    traces: Sequence[str]
    limit: int | None = None

    def config(self) -> dict[str, Any]:
        """Return what a report shows: every setting as it was used, and the profiles that gave some."""
        profiles = [{"name": each.name, "sha256": each.sha256} for each in self.profiles]
        return {**self.args.resolved(), **({"profiles": profiles} if profiles else {})}

    def rows(self) -> list[tuple[str, list[str]]]:
        """Return what was run as words for people: titles, each with words that are not to be divided.

        Settings that are not the engine's defaults are spelled as options, whoever gave them.
        """
        engine = self.args.engine
        rows = [("engine", f"{engine}: {_ENGINES[engine]}".split(" "))]
        if self.profiles:
            rows.append(("profile", _listed([each.name for each in self.profiles])))
        changed = self.args.changed()
        clock = changed.pop("clock", None)
        if self.limit is not None:
            changed["limit"] = self.limit
        if changed:
            rows.append(("settings", [option for each in changed.items() for option in _options(*each)]))
        traces = ["standard input" if trace == "-" else trace for trace in self.traces]
        rows.append(("trace", _listed(traces)))
        if clock is not None:
            rows.append(("clock", [visible(clock)]))
            sources = [each.source for each in self.profiles if each.settings.get("clock") == clock]
            if sources and sources[-1].get("scale") == "not calibrated":
                rows.append(("clock scale", _UNCALIBRATED.split(" ")))
        return rows


def wrap(words: Sequence[str], width: int, between: str = " ") -> list[str]:
    """Return lines of words, each as long as `width` cells allow; a word that is wider has its own line."""
    lines: list[str] = []
    for word in words:
        if lines and cell_len(lines[-1]) + len(between) + cell_len(word) <= width:
            lines[-1] += f"{between}{word}"
        else:
            lines.append(word)
    return lines


def _listed(names: Sequence[str]) -> list[str]:
    """Return names with commas, or the first few of many and how many others there are."""
    shown = [visible(name) for name in names[:_MAX_TRACES]]
    words = [*(f"{name}," for name in shown[:-1]), *shown[-1:]]
    more = len(names) - len(shown)
    return [*words, f"and {more:,} more"] if more else words


def _options(name: str, value: Any) -> Iterator[str]:
    """Yield a setting as the options that give it."""
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        yield option if value else f"--no-{option[2:]}"
        return
    for each in value if isinstance(value, list | tuple) else [value]:
        yield f"{option} {visible(shlex.quote(str(each)))}"
