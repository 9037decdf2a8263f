"""What is in a trace, in figures: how many records of which kind, lengths, arrivals, shared prefixes."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tracesim.analysis.percentiles import percentile
from tracesim.requests.request import DEFAULT_HASH_BLOCK_SIZE
from tracesim.tokenizers.interface import Tokenizer
from tracesim.trace.record import TraceRecord

TOKENS_PER_BLOCK = 16
"""Tokens of a block where a prompt's tokens are known: vLLM's own default."""


class LengthStats:
    """Lengths in tokens. All figures are 0 where there are none."""

    def __init__(self) -> None:
        self._lengths = array("Q")
        self._is_sorted = True

    def add(self, length: int) -> None:
        """Count a length."""
        self._lengths.append(length)
        self._is_sorted = False

    @property
    def total(self) -> int:
        """The sum."""
        return sum(self._lengths)

    @property
    def mean(self) -> float:
        """The mean."""
        return self.total / max(1, len(self._lengths))

    def percentile(self, percent: float) -> float:
        """The length that `percent` of all do not exceed, between two of them where none is at that place."""
        if not self._is_sorted:
            self._lengths = array("Q", sorted(self._lengths))
            self._is_sorted = True
        return percentile(self._lengths, len(self._lengths), percent) if self._lengths else 0.0

    def histogram(self) -> list[tuple[int, int, int]]:
        """How many lie from low to high, for 0, 1, 2-3, 4-7 and so on, from the shortest to the longest."""
        counts = Counter(length.bit_length() for length in self._lengths)
        if not counts:
            return []
        return [
            (1 << bits >> 1, (1 << bits) - 1, counts[bits]) for bits in range(min(counts), max(counts) + 1)
        ]


class ArrivalStats:
    """When records arrive, by `arrival_time` or else by `arrival_step`; `unit` says in what."""

    def __init__(self, unit: str, times: Sequence[float]) -> None:
        self.unit = unit
        self._times = sorted(times)

    @property
    def count(self) -> int:
        """How many arrivals are known."""
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
        """From the first to the last."""
        return self.last - self.first

    def rates(self, num_buckets: int) -> list[float]:
        """Arrivals a second, or a step, in each of as many equal parts of the duration; none below a step."""
        if not self.duration:
            return []
        if self.unit == "steps":
            num_buckets = min(num_buckets, int(self.duration))
        width = self.duration / num_buckets
        counts = Counter(min(int((time - self.first) / width), num_buckets - 1) for time in self._times)
        return [counts[bucket] / width for bucket in range(num_buckets)]


@dataclass(slots=True)
class PrefixStats:
    """What a prefix cache that forgets nothing would find of the prompts, in the trace's order.

    Full blocks of 16 tokens where the tokens are known, one block an id where `hash_ids` are; `records` are
    those of either kind. `shared_first` counts those whose first block another record has too, and
    `first_blocks` how many different first blocks there are.
    """

    records: int = 0
    prompt_tokens: int = 0
    found_tokens: int = 0
    blocks: int = 0
    found_blocks: int = 0
    shared_first: int = 0
    first_blocks: int = 0

    @property
    def found_fraction(self) -> float:
        """Of the prompt tokens, those that are found: 0 to 1."""
        return self.found_tokens / max(1, self.prompt_tokens)


class _Prefixes:
    """All prefixes so far, each by a hash of its last block and of the hash of those before."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._firsts: Counter[int] = Counter()
        self._stats = PrefixStats()

    def add(self, blocks: Iterable[object], tokens_per_block: int, num_tokens: int) -> None:
        """Count a prompt of `num_tokens` tokens, whose full blocks hold `tokens_per_block` tokens each."""
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
        self._stats.found_tokens += min(num_tokens, found * tokens_per_block)
        self._stats.blocks += number
        self._stats.found_blocks += found

    def stats(self) -> PrefixStats:
        shared = [count for count in self._firsts.values() if count > 1]
        self._stats.shared_first = sum(shared)
        self._stats.first_blocks = len(self._firsts)
        return self._stats


class TraceStats:
    """The figures of a trace, from its records in batches. Text is cut by `tokenizer` where no ids are given.

    `kinds` counts records with text, with token ids and with lengths, and those that have `hash_ids`; a
    record may be of several.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.records = 0
        self.kinds = Counter[str]()
        self.prompt_tokens = LengthStats()
        self.output_tokens = LengthStats()
        self._tokenizer = tokenizer
        self._prefixes = _Prefixes()
        self._times = array("d")
        self._steps = array("d")

    @property
    def arrivals(self) -> ArrivalStats | None:
        """The arrivals; None where no record has any, or all arrive at step 0."""
        if self._times:
            return ArrivalStats("seconds", self._times)
        return ArrivalStats("steps", self._steps) if any(self._steps) else None

    @property
    def prefixes(self) -> PrefixStats:
        """What the prompts share."""
        return self._prefixes.stats()

    @property
    def has_tokenized(self) -> bool:
        """Whether lengths depend on the tokenizer."""
        return self.kinds["text"] > 0

    def add(self, records: Sequence[TraceRecord]) -> None:
        """Count a batch of records. Raises TokenizerError where there is text and no such tokenizer."""
        prompts = self._tokens([(record.prompt, record.prompt_token_ids) for record in records])
        outputs = self._tokens([(record.response, record.response_token_ids) for record in records])
        for record, prompt, output in zip(records, prompts, outputs, strict=True):
            self.records += 1
            self._add_kinds(record)
            self._add_prompt(record, prompt)
            length = record.output_length if output is None else len(output)
            self.output_tokens.add(length or 0)
            if record.arrival_time is not None:
                self._times.append(record.arrival_time)
            self._steps.append(record.arrival_step)

    def _tokens(self, sides: Sequence[tuple[str | None, Sequence[int] | None]]) -> list[Sequence[int] | None]:
        """The tokens of each side of a record: its ids, or its text cut; None where it has only a length."""
        texts = [text for text, ids in sides if ids is None and text is not None]
        cut = iter(self._tokenizer.encode_batch(texts) if texts else ())
        return [next(cut) if ids is None and text is not None else ids for text, ids in sides]

    def _add_kinds(self, record: TraceRecord) -> None:
        self.kinds["text"] += record.prompt is not None or record.response is not None
        self.kinds["token ids"] += (
            record.prompt_token_ids is not None or record.response_token_ids is not None
        )
        self.kinds["lengths"] += record.input_length is not None
        self.kinds["hash_ids"] += record.hash_ids is not None

    def _add_prompt(self, record: TraceRecord, tokens: Sequence[int] | None) -> None:
        num_tokens = (record.input_length or 0) if tokens is None else len(tokens)
        self.prompt_tokens.add(num_tokens)
        if record.hash_ids is not None:
            self._prefixes.add(record.hash_ids, DEFAULT_HASH_BLOCK_SIZE, num_tokens)
        elif tokens is not None:
            size = TOKENS_PER_BLOCK
            starts = range(0, num_tokens - size + 1, size)
            self._prefixes.add((tuple(tokens[at : at + size]) for at in starts), size, num_tokens)
