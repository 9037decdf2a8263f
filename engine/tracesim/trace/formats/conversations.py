"""Conversations as requests: each answer is one, whose prompt is all turns before it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, NamedTuple

from tracesim.errors import TraceProblem
from tracesim.trace.formats.interface import Entry, SeparateFiles
from tracesim.trace.formats.json_objects import json_objects
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding

ANSWERING = frozenset(["assistant", "model", "gpt", "chatgpt", "ai", "bot", "bing", "bard", "function_call"])
"""The roles, in lower case, of what the model has generated."""


class Turn(NamedTuple):
    """One turn of a conversation; an answer is what the model has generated."""

    is_answer: bool
    text: str


class Conversations(SeparateFiles, ABC):
    """The part of a format whose records are conversations, each of which is a session.

    A format says in `conversations` what is in one JSON object. Each answer is a request.
    """

    session_prefix: ClassVar = "conversation-"

    def __init__(self) -> None:
        self._num_conversations = 0

    @abstractmethod
    def conversations(self, fields: dict[str, Any]) -> Iterable[tuple[str, Iterable[Turn | Finding]]]:
        """Return the conversations in an object: for each the field that has it, and its turns.

        A finding stands in place of a turn that is wrong.
        """

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Yield an entry for each answer; its line is that of the conversation."""
        for item in json_objects(file):
            if isinstance(item, TraceProblem):
                yield item
            elif item.findings or item.fields is None:
                yield Entry(file.name, item.line, None, item.findings)
            else:
                for field, turns in self.conversations(item.fields):
                    yield from self._requests(file.name, item.line, turns, field)

    def _requests(self, file: str, line: int, turns: Iterable[Turn | Finding], field: str) -> Iterator[Entry]:
        """Yield an entry for each answer; `field` is the name of the turns.

        Line feeds separate the turns in a prompt, so the prompt of a later request begins with that of an
        earlier one and its answer. Nothing is read after a turn that is wrong, as later prompts have it.
        """
        self._num_conversations += 1
        session_id = f"{self.session_prefix}{self._num_conversations}"
        texts: list[str] = []
        num_answers = 0
        for at, turn in enumerate(turns, 1):
            if isinstance(turn, Finding):
                yield Entry(file, line, None, [turn])
                return
            if turn.is_answer:
                num_answers += 1
                prompt = "\n".join(texts)
                fields = {"prompt": prompt, "response": turn.text, "session_id": session_id}
                message = f"turn {at} answers nothing; it is skipped, and is part of later prompts"
                without_prompt = [] if prompt else [Finding("no-prompt", field, message)]
                yield Entry(file, line, fields if prompt else None, without_prompt)
            texts.append(turn.text)
        if not num_answers:
            message = "has no turn of the assistant, and so no request"
            yield Entry(file, line, None, [Finding("no-request", field, message)])
