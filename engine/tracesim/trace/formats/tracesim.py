"""Records of tracesim's own fields in a JSON array, or with line breaks inside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.interface import Entry, SeparateFiles
from tracesim.trace.formats.json_objects import document_objects
from tracesim.trace.input_file import InputFile


class RecordDocument(SeparateFiles):
    """The items of a document are records; JSONL, the usual form of a trace, needs no format reader."""

    field_names: ClassVar[dict[str, str]] = {}

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Yield an entry for each item; its line is its number."""
        for item in document_objects(file):
            if isinstance(item, TraceProblem):
                yield item
            else:
                yield Entry(file.name, *item)
