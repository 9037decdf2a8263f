"""A package imports only from packages below it: data passes up through the stages, and nothing runs back."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from paths import ROOT

LAYERS = {
    "tracesim": [
        "__main__",
        "charts",
        "vllm",
        "sweep",
        "calibration",
        "analysis",
        "cluster",
        "engine",
        "profiles",
        "timing",
        "scheduler",
        "responses",
        "kv_cache",
        "measured",
        "trace",
        "tokenizers",
        "requests",
        "config",
        "toml_file",
        "documents",
        "errors",
        "limits",
    ],
    "tracesim_cli": ["__main__", "main", "commands", "views", "terminal"],
}
"""From the top down. `tracesim` itself has the version and loads its public names when they are asked for."""


def modules(package: str) -> list[Path]:
    found = sorted(ROOT.glob(f"*/{package}/**/*.py"))
    assert found
    return [path for path in found if path.parent.name != package or path.stem != "__init__"]


def imported(path: Path) -> Iterator[list[str]]:
    """The dotted names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ([*node.module.split("."), alias.name] for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)


@pytest.mark.parametrize("package", LAYERS)
def test_imports_run_down(package: str) -> None:
    layers = LAYERS[package]
    wrong = []
    for path in modules(package):
        parts = path.relative_to(next(parent for parent in path.parents if parent.name == package)).parts
        own = layers.index(parts[0].removesuffix(".py"))
        wrong += [
            f"{path.relative_to(ROOT)} imports {'.'.join(name)}"
            for name in imported(path)
            if name[0] == package and name[1] in layers and layers.index(name[1]) < own
        ]

    assert wrong == []


def test_the_library_does_not_know_the_command_line() -> None:
    """Nor Rich, nor Typer: `import tracesim` is for programs. `python -m tracesim` is the one exception."""
    library = [path for path in modules("tracesim") if path.stem != "__main__"]
    found = {name[0] for path in library for name in imported(path)}

    assert found.isdisjoint({"rich", "typer", "tracesim_cli"})
