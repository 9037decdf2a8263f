"""Statistics of a trace: kinds of records, lengths, arrivals, sessions and shared prefixes."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tracesim.analysis.percentiles import percentile
from tracesim.engine.conversations import Conversation
from tracesim.requests.request import DEFAULT_HASH_BLOCK_SIZE, Request, RequestState
from tracesim.tokenizers.interface import Tokenizer
from tracesim.trace.record import TraceRecord

TOKENS_PER_BLOCK = 16
"""Tokens per block where the tokens of a prompt are known: vLLM's default block size."""

_SHORTEST_DURATION = 1e-9


class LengthStatistics:
    """Lengths in tokens. All figures are 0 if there are no lengths."""

    def __init__(self) -> None:
        self._lengths = array("Q")
        self._is_sorted = True

    def add(self, length: int) -> None:
        """Add one length."""
        self._lengths.append(length)
        self._is_sorted = False

    @property
    def total(self) -> int:
        """The sum of all lengths."""
        return sum(self._lengths)

    @property
    def mean(self) -> float:
        """The mean length."""
        return self.total / max(1, len(self._lengths))

    def percentile(self, percent: float) -> float:
        """Return a percentile, interpolated between two lengths where necessary."""
        if not self._is_sorted:
            self._lengths = array("Q", sorted(self._lengths))
            self._is_sorted = True
        return percentile(self._lengths, len(self._lengths), percent) if self._lengths else 0.0

    def histogram(self) -> list[tuple[int, int, int]]:
        """Return low, high and count for each of the ranges 0, 1, 2-3, 4-7, ... that has lengths in it."""
        counts = Counter(length.bit_length() for length in self._lengths)
        if not counts:
            return []
        return [
            (1 << bits >> 1, (1 << bits) - 1, counts[bits]) for bits in range(min(counts), max(counts) + 1)
        ]


class ArrivalStatistics:
    """When records arrive; `unit` is seconds for `arrival_time`, and steps for `arrival_step`."""

    def __init__(self, unit: str, times: Sequence[float]) -> None:
        self.unit = unit
        self._times = sorted(times)

    @property
    def count(self) -> int:
        """The number of records with an arrival."""
        return len(self._times)

    @property
    def first(self) -> float:
        """The first arrival."""
        return self._times[0]

    @property
    def last(self) -> float:
        """The last arrival."""
        return self._times[-1]

    @property
    def duration(self) -> float:
        """The time from the first arrival to the last, in whole femtoseconds as engines count time."""
        return round(self.last - self.first, 12)

    def rates(self, num_buckets: int) -> list[float]:
        """Return the arrival rate in each of `num_buckets` equal parts, of which none is below one step.

        There are none if all arrive within a nanosecond.
        """
        if self.duration < _SHORTEST_DURATION:
            return []
        if self.unit == "steps":
            num_buckets = min(num_buckets, int(self.duration))
        width = self.duration / num_buckets
        counts = Counter(min(int((time - self.first) / width), num_buckets - 1) for time in self._times)
        return [counts[bucket] / width for bucket in range(num_buckets)]


@dataclass(frozen=True, slots=True)
class SessionStatistics:
    """How records belong together.

    `sessions` counts the different `session_id`s, `turns` the records that have one, `longest` those of the
    longest session, and `after` the records that wait for others by id. `delays` of them have a `delay`, the
    think time or tool time before the request, whose mean is `mean_delay` in seconds (None if there is none).
    """

    sessions: int
    turns: int
    longest: int
    after: int
    delays: int
    mean_delay: float | None


@dataclass(slots=True)
class PrefixStatistics:
    """What an unlimited prefix cache would find of the prompts, in the order of the trace.

    `found_tokens` counts the tokens found; `found_session_tokens` of them are those that the turn before in
    the same session had, prompt and answer.

    A block is 16 tokens where token ids are known, and one id where `hash_ids` are given; `records` counts
    the records of either kind. `shared_first` counts those whose first block is also the first block of
    another record, and `first_blocks` the different first blocks.
    """

    records: int = 0
    prompt_tokens: int = 0
    found_tokens: int = 0
    blocks: int = 0
    found_blocks: int = 0
    shared_first: int = 0
    first_blocks: int = 0
    found_session_tokens: int = 0

    @property
    def found_fraction(self) -> float:
        """The fraction of the prompt tokens that is found, from 0 to 1."""
        return self.found_tokens / max(1, self.prompt_tokens)


class _PrefixCounter:
    """Counts the prefixes so far, each identified by a hash of its last block and of the blocks before."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._firsts: Counter[int] = Counter()
        self._stats = PrefixStatistics()

    def add(
        self, blocks: Iterable[object], tokens_per_block: int, num_tokens: int, num_session_tokens: int
    ) -> None:
        """Add a prompt of `num_tokens` tokens with blocks of `tokens_per_block` tokens.

        The turn before in its session had the first `num_session_tokens` of them.
        """
        prefix, found, number, is_found = tokens_per_block, 0, 0, True
        for block in blocks:
            prefix = hash((prefix, block))
            is_found = is_found and prefix in self._known
            found += is_found
            self._known.add(prefix)
            if not number:
                self._firsts[prefix] += 1
            number += 1
        self._stats.records += 1
        self._stats.prompt_tokens += num_tokens
        whole = num_session_tokens - num_session_tokens % TOKENS_PER_BLOCK
        found_tokens = max(whole, min(num_tokens, found * tokens_per_block))
        self._stats.found_tokens += found_tokens
        self._stats.found_session_tokens += min(found_tokens, num_session_tokens)
        self._stats.blocks += number
        self._stats.found_blocks += found

    def statistics(self) -> PrefixStatistics:
        """Return the figures of all prompts so far."""
        shared = [count for count in self._firsts.values() if count > 1]
        self._stats.shared_first = sum(shared)
        self._stats.first_blocks = len(self._firsts)
        return self._stats


class TraceStatistics:
    """The statistics of a trace, from its records in batches; text without ids is tokenized.

    `kinds` counts the records with text, with token ids, with lengths and with `hash_ids`; a record may be of
    several kinds.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.records = 0
        self.kinds = Counter[str]()
        self.prompt_tokens = LengthStatistics()
        self.output_tokens = LengthStatistics()
        self._tokenizer = tokenizer
        self._prefixes = _PrefixCounter()
        self._conversations: dict[str, Conversation] = {}
        self._times = array("d")
        self._steps = array("d")
        self._turns: Counter[str] = Counter()
        self._num_after = 0
        self._delays = array("d")

    @property
    def arrivals(self) -> ArrivalStatistics | None:
        """The arrivals; None if no record has one, or all arrive at step 0."""
        if self._times:
            return ArrivalStatistics("seconds", self._times)
        return ArrivalStatistics("steps", self._steps) if any(self._steps) else None

    @property
    def sessions(self) -> SessionStatistics | None:
        """The sessions; None if no record belongs to one or waits for another."""
        if not self._turns and not self._num_after and not self._delays:
            return None
        mean_delay = sum(self._delays) / len(self._delays) if self._delays else None
        return SessionStatistics(
            sessions=len(self._turns),
            turns=self._turns.total(),
            longest=max(self._turns.values(), default=0),
            after=self._num_after,
            delays=len(self._delays),
            mean_delay=mean_delay,
        )

    @property
    def prefixes(self) -> PrefixStatistics:
        """What the prompts have in common."""
        return self._prefixes.statistics()

    @property
    def has_tokenized(self) -> bool:
        """Whether lengths depend on the tokenizer."""
        return self.kinds["text"] > 0

    def add(self, records: Sequence[TraceRecord]) -> None:
        """Add a batch of records. Raises TokenizerError if the tokenizer is needed and cannot be loaded."""
        prompts = self._tokens([(record.prompt, record.prompt_token_ids) for record in records])
        outputs = self._tokens([(record.response, record.response_token_ids) for record in records])
        for record, prompt, output in zip(records, prompts, outputs, strict=True):
            self.records += 1
            self.kinds["text"] += record.prompt is not None or record.response is not None
            self.kinds["token ids"] += (
                record.prompt_token_ids is not None or record.response_token_ids is not None
            )
            self.kinds["lengths"] += record.output_length is not None
            self.kinds["hash_ids"] += record.hash_ids is not None
            num_prompt_tokens = (record.input_length or 0) if prompt is None else len(prompt)
            self.prompt_tokens.add(num_prompt_tokens)
            self.output_tokens.add((record.output_length or 0) if output is None else len(output))
            in_session = self._tokens_of_turn_before(record, prompt, output)
            if record.hash_ids is not None:
                size = record.hash_block_size or DEFAULT_HASH_BLOCK_SIZE
                self._prefixes.add(record.hash_ids, size, num_prompt_tokens, in_session)
            elif prompt is not None:
                size = TOKENS_PER_BLOCK
                starts = range(0, num_prompt_tokens - size + 1, size)
                blocks = (tuple(prompt[at : at + size]) for at in starts)
                self._prefixes.add(blocks, size, num_prompt_tokens, in_session)
            if record.arrival_time is not None:
                self._times.append(record.arrival_time)
            self._steps.append(record.arrival_step)
            if record.session_id is not None:
                self._turns[record.session_id] += 1
            self._num_after += record.after is not None
            if record.delay is not None:
                self._delays.append(record.delay)

    def _tokens_of_turn_before(
        self, record: TraceRecord, prompt: Sequence[int] | None, output: Sequence[int] | None
    ) -> int:
        """Return how many tokens of a prompt the turn before in its session had; remember it as the last."""
        if record.session_id is None:
            return 0
        request = Request(
            record.id,
            (record.input_length or 0) if prompt is None else len(prompt),
            (record.output_length or 0) if output is None else len(output),
            prompt_token_ids=prompt,
            output_token_ids=output,
            hash_ids=record.hash_ids,
            hash_block_size=record.hash_block_size or DEFAULT_HASH_BLOCK_SIZE,
        )
        conversation = self._conversations.setdefault(record.session_id, Conversation(record.id))
        num_common, _ = conversation.tokens_in_common(request, record)
        conversation.turns.clear()
        conversation.add_turn(RequestState(request), record)
        return num_common

    def _tokens(self, sides: Sequence[tuple[str | None, Sequence[int] | None]]) -> list[Sequence[int] | None]:
        """Return the token ids of each prompt or response; None for one of which only the length is known."""
        texts = [text for text, ids in sides if ids is None and text is not None]
        cut = iter(self._tokenizer.encode_batch(texts) if texts else ())
        return [next(cut) if ids is None and text is not None else ids for text, ids in sides]
