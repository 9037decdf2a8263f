"""The pages of the documentation, taken apart for tests: their examples, headings and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from paths import ROOT

GENERATED = {ROOT / "docs" / "reference" / "command-line.md", ROOT / "docs" / "assets" / "rush_hour.html"}
"""Files that `make docs` makes before it builds the site."""


class Block(NamedTuple):
    """A fenced block of a page, and the line where its content starts."""

    language: str
    line: int
    text: str


class Example(NamedTuple):
    """A command of a console block and the output that the page shows below it."""

    place: str
    command: str
    output: str


def pages() -> list[Path]:
    """Return every page that is written by hand: the front pages and those of the site."""
    written = [path for path in sorted(ROOT.glob("docs/**/*.md")) if path not in GENERATED]
    return [ROOT / "README.md", ROOT / "README.zh.md", *written]


def place(page: Path, line: int) -> str:
    """Return where something is, as `docs/guide/replay.md:12`."""
    return f"{page.relative_to(ROOT)}:{line}"


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^( *)```(\w*).*\n((?:.*\n)*?)\1```$", text, re.MULTILINE):
        indent, language, body = match.groups()
        line = text.count("\n", 0, match.start(3)) + 1
        yield Block(language, line, re.sub(rf"^{indent}", "", body, flags=re.MULTILINE))


def examples(page: Path) -> Iterator[Example]:
    """Yield each command in the console blocks of a page; one that ends with a backslash continues."""
    for block in blocks(page):
        if block.language == "console":
            for match in re.finditer(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE):
                line = block.line + block.text.count("\n", 0, match.start())
                yield Example(place(page, line), *match.groups())


def prose(page: Path) -> str:
    """Return the text of a page without its fenced blocks."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^( *)```.*\n(?:.*\n)*?\1```$", "", text, flags=re.MULTILINE)


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the path and the anchor (or "") of each relative link and image of a page."""
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(page))):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield path, anchor


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page: those of its headings, and of its entries of the API."""
    text = prose(page)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"^::: (\S+)$", text, re.MULTILINE))
