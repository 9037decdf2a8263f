"""Options in groups: a command takes groups, and the command line has an option for each of their fields.

The title of a group names the panel of the help that shows its options.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import fields
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, ClassVar, Final, get_args, get_type_hints

import typer

from tracesim.config import ENGINES, GROUPS, EngineSettings, Setting, settings_of
from tracesim_cli.commands.completion import offering, profile_names

_PROFILE_HELP: Final = (
    "Take the settings of a profile: one that `tracesim profiles` lists, or a TOML file. May be repeated; "
    "later profiles override earlier ones, and options override all."
)


class OptionGroup:
    """The base of a frozen dataclass in which each field is `Annotated` with its `typer.Option`."""

    title: ClassVar[str]

    @classmethod
    def parameters(cls) -> list[Parameter]:
        """Return the fields as parameters of a command."""
        found = []
        hints = get_type_hints(cls, include_extras=True)
        for each in fields(cls):  # type: ignore[arg-type]  # every subclass is a dataclass
            kind, declared = get_args(hints[each.name])
            option = copy(declared)
            option.rich_help_panel = cls.title
            found.append(_parameter(each.name, Annotated[kind, option], each.default))
        return found


class GivenSettings(dict[str, Any]):
    """The settings of a replay that the command line gives, by name, without those that it does not give.

    `profiles` are the names and files of the profiles that give others.
    """

    def __init__(self, *, profile: Sequence[str] | None, **values: Any) -> None:
        super().__init__({name: value for name, value in values.items() if value not in (None, [])})
        self.profiles = profile or []

    @classmethod
    def parameters(cls) -> list[Parameter]:
        """Return `profile`, and every setting that the library declares, as parameters of a command."""
        found = []
        for group in GROUPS:
            if group is EngineSettings:
                option = typer.Option(
                    help=_PROFILE_HELP,
                    metavar="NAME|FILE",
                    rich_help_panel=group.title,
                    autocompletion=offering(profile_names),
                )
                found.append(_parameter("profile", Annotated[list[str] | None, option], None))
            for setting in settings_of(group).values():
                kind = list[str] if setting.is_repeatable else setting.type
                names = [setting.name, setting.alias] if setting.alias else []
                option = typer.Option(
                    *(f"--{name.replace('_', '-')}" for name in names),
                    help=f"{setting.description} {describe_default(setting)}".rstrip(),
                    metavar=setting.metavar,
                    rich_help_panel=group.title,
                    autocompletion=offering(setting.suggestions) if setting.suggestions else None,
                )
                found.append(_parameter(setting.name, Annotated[kind | None, option], None))
        return found


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Return `command` with each group among its parameters replaced by the options of the group."""
    groups: dict[str, tuple[Any, list[str]]] = {}
    parameters: list[Parameter] = []
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in signature(command).parameters.items():
        group = hints[name]
        if isinstance(group, type) and issubclass(group, (OptionGroup, GivenSettings)):
            options = group.parameters()
            parameters += options
            groups[name] = group, [option.name for option in options]
        else:
            parameters.append(_parameter(name, group, parameter.default))

    @functools.wraps(command)
    def with_groups(**values: Any) -> None:
        for name, (group, options) in groups.items():
            values[name] = group(**{option: values.pop(option) for option in options})
        command(**values)

    with_groups.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    with_groups.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_groups


def describe_default(setting: Setting) -> str:
    """Return which engines have a setting and its default, such as "[default: no limit; vllm-v1: 2048]"."""
    engines: dict[str, list[str]] = {}
    for engine, default in setting.defaults.items():
        if isinstance(default, bool):
            text = "on" if default else "off"
        elif isinstance(default, float):
            text = f"{default:g}"
        else:
            text = setting.unset if default is None else str(default)
        engines.setdefault(text, []).append(engine)
    (usual, _), *others = engines.items()
    notes = [] if len(setting.defaults) == len(ENGINES) else [f"{', '.join(setting.defaults)} only"]
    notes += [f"default: {usual}"] if usual else []
    notes += [f"{', '.join(names)}: {text}" for text, names in others]
    return f"[{'; '.join(notes)}]" if notes else ""


def _parameter(name: str, annotation: Any, default: Any) -> Parameter:
    """Return a parameter that is passed by name, so that those without a default may follow others."""
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
