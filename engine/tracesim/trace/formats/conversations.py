"""Conversations as requests: each answer is one, whose prompt is all turns before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, NamedTuple

from tracesim.trace.formats.interface import Entry, SeparateFiles
from tracesim.trace.problems import Finding


class Turn(NamedTuple):
    """One turn of a conversation; an answer is what the model has generated."""

    is_answer: bool
    text: str


class Conversations(SeparateFiles):
    """The part of a format whose records are conversations, each of which is a session."""

    session_prefix: ClassVar = "conversation-"

    def __init__(self) -> None:
        self._num_conversations = 0

    def requests(self, file: str, line: int, turns: Iterable[Turn | Finding], field: str) -> Iterator[Entry]:
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
