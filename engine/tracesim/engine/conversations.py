"""Sessions as their records are read: what each turn waits for, and what it shares with the turns before."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tracesim.requests.request import Request, RequestState
from tracesim.trace.record import TraceRecord


class _Text(NamedTuple):
    """The texts of a turn, by length and hash, to find them at the start of a later prompt."""

    prompt_length: int
    prompt_hash: int
    response_length: int
    response_hash: int

    def begins(self, prompt: str) -> bool:
        """Return whether a prompt begins with the turn's prompt and, after white space, with its answer."""
        if hash(prompt[: self.prompt_length]) != self.prompt_hash:
            return False
        rest = prompt[self.prompt_length :].lstrip()
        return hash(rest[: self.response_length]) == self.response_hash


class _Turn(NamedTuple):
    """A turn of a session that later ones are compared with; `text` is None where it is not known."""

    state: RequestState
    text: _Text | None


@dataclass(slots=True)
class Conversation:
    """One session so far: the id of its last turn, its first turn with the recorded arrival, and its turns.

    `turns` is empty where nothing reads what the turns have in common.
    """

    last_id: str
    first: RequestState | None = None
    first_recorded: int = 0
    turns: list[_Turn] = field(default_factory=list)

    def add_turn(self, state: RequestState, record: TraceRecord) -> None:
        """Add the turn of a record."""
        text = None
        if record.prompt is not None and record.response:
            response = record.response.strip()
            text = _Text(len(record.prompt), hash(record.prompt), len(response), hash(response))
        self.turns.append(_Turn(state, text))

    def tokens_in_common(self, request: Request, record: TraceRecord) -> tuple[int, RequestState | None]:
        """Return how many tokens of a prompt an earlier turn had, and the turn that the prompt continues.

        That turn's prompt and answer are the beginning of this prompt: by token ids, by text, or by the hash
        ids of all whole blocks. If there are several, it is the last. None if there is none.
        """
        most = 0
        for turn in reversed(self.turns):
            earlier = turn.state.request
            end = min(earlier.num_prompt_tokens + earlier.num_output_tokens, request.num_prompt_tokens)
            if _continues(request, record, turn):
                return end, turn.state
            most = max(most, min(end, _num_common(request, earlier)))
        return most, None


def _continues(request: Request, record: TraceRecord, turn: _Turn) -> bool:
    """Return whether a prompt begins with the prompt and the answer of an earlier turn."""
    earlier = turn.state.request
    num_tokens = earlier.num_prompt_tokens
    if request.num_prompt_tokens <= num_tokens:
        return False
    if request.hash_ids is not None and earlier.hash_ids is not None:
        num_whole = num_tokens // request.hash_block_size
        return (
            request.hash_block_size == earlier.hash_block_size
            and request.hash_ids[:num_whole] == earlier.hash_ids[:num_whole]
        )
    if turn.text is not None and record.prompt is not None and turn.text.begins(record.prompt):
        return True
    if request.prompt_token_ids is None or earlier.prompt_token_ids is None:
        return False
    known = [*earlier.prompt_token_ids, *(earlier.output_token_ids or ())]
    return len(known) > num_tokens and list(request.prompt_token_ids[: len(known)]) == known


def _num_common(request: Request, earlier: Request) -> int:
    """Return how many tokens a prompt and an earlier turn, with its answer, have in common."""
    if request.hash_ids is not None and earlier.hash_ids is not None:
        if request.hash_block_size != earlier.hash_block_size:
            return 0
        return _common_prefix(request.hash_ids, earlier.hash_ids) * request.hash_block_size
    if request.prompt_token_ids is None or earlier.prompt_token_ids is None:
        return 0
    return _common_prefix(
        request.prompt_token_ids, [*earlier.prompt_token_ids, *(earlier.output_token_ids or ())]
    )


def _common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many items two sequences have in common from their beginning on."""
    if not one or not other or one[0] != other[0]:
        return 0
    one, other = list(one), list(other)
    lengths = range(1, min(len(one), len(other)) + 1)
    return bisect_left(lengths, True, key=lambda length: one[:length] != other[:length])
