"""The format of a file, from the names of its fields or columns in the beginning of its content."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

import orjson

from tracesim.errors import TraceProblem
from tracesim.trace.formats.csv_rows import delimiter_of, split_cells
from tracesim.trace.formats.json_objects import is_document
from tracesim.trace.formats.names import OWN, FormatName
from tracesim.trace.formats.other_kinds import OtherKind, other_kind
from tracesim.trace.formats.parquet import is_parquet, parquet_columns
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, problem, quote
from tracesim.trace.schema import CHECKS, similar_field

_COLUMNS: dict[FormatName, tuple[str, ...]] = {
    "azure": ("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    "burstgpt": ("Timestamp", "Request tokens", "Response tokens"),
    "vidur": ("num_prefill_tokens", "num_decode_tokens", "arrived_at"),
}
"""The columns of the CSV formats; the first two are enough to detect one."""

_KEYS: dict[FormatName, tuple[frozenset[str], ...]] = {
    "bailian": (frozenset({"chat_id", "parent_chat_id"}), frozenset({"chat_id", "timestamp"})),
    "openai-batch": (frozenset({"custom_id", "body"}), frozenset({"custom_id", "response"})),
    "vllm-bench": (frozenset({"input_lens"}), frozenset({"request_throughput"})),
    "llmservingsim": (frozenset({"input_toks", "arrival_time_ns"}), frozenset({"input_tok_ids"})),
    "sharegpt": (frozenset({"conversations"}),),
    "weka": (frozenset({"requests", "block_size"}),),
    "tracelab": (frozenset({"round_index", "input_tokens_total"}),),
    "litellm": (frozenset({"call_type", "startTime"}), frozenset({"startTime", "completion_tokens"})),
    "opentelemetry": (frozenset({"resourceSpans"}),),
    "wildchat": (frozenset({"conversation"}), frozenset({"conversation_a", "conversation_b"})),
    "mooncake": (
        frozenset({"timestamp", "input_length"}),
        frozenset({"timestamp", "input_tokens"}),
        frozenset({"text_input"}),
        frozenset({"messages", "output_length"}),
        frozenset({"messages", "output_tokens"}),
        frozenset({"input_tokens", "output_tokens"}),
    ),
    "messages": (frozenset({"messages"}), frozenset({"prompt", "completion"})),
}
"""Keys of which only records of one format have all; a format may have several such sets."""

_OWN_TIMES = frozenset({"arrival_time", "arrival_step"})
_MOONCAKE_TIMES = frozenset({"timestamp"})
_TIMES = _OWN_TIMES | _MOONCAKE_TIMES
_OWN_CONTENTS = (
    frozenset({"prompt", "prompt_token_ids", "input_length"}),
    frozenset({"response", "response_token_ids", "output_length"}),
)
_OWN_NAMES = frozenset().union(*_OWN_CONTENTS)
_OWN_TEXTS = tuple(sides - {"input_length", "output_length"} for sides in _OWN_CONTENTS)

_READ: dict[FormatName, tuple[str, ...]] = {
    "tracesim": ("prompt", "response", "input_length", "output_length"),
    "mooncake": ("timestamp", "input_length", "output_length", "hash_ids"),
    "bailian": ("chat_id", "parent_chat_id", "timestamp", "input_length", "output_length", "hash_ids"),
    **_COLUMNS,
    "sharegpt": ("conversations", "from", "value"),
    "messages": ("messages", "role", "content"),
    "wildchat": ("conversation", "role", "content"),
    "openai-batch": ("custom_id", "body", "response"),
    "litellm": ("call_type", "startTime", "messages", "response", "prompt_tokens", "completion_tokens"),
    "weka": ("requests", "block_size", "hash_ids"),
    "tracelab": ("session_id", "round_index", "input_tokens_total", "output_tokens"),
    "vllm-bench": ("input_lens", "output_lens", "start_times"),
    "llmservingsim": ("input_tok_ids", "output_tok_ids", "input_toks", "output_toks", "arrival_time_ns"),
}
"""What each format reads, to find those that are similar to a file of an unknown format."""

_FOREIGN_FIELDS: dict[str, tuple[FormatName, str]] = {
    "timestamp": ("mooncake", "arrival_time"),
    "input_tokens": ("mooncake", "input_length"),
    "output_tokens": ("mooncake", "output_length"),
    "text_input": ("mooncake", "prompt"),
    "chat_id": ("bailian", "id"),
    "parent_chat_id": ("bailian", "after"),
    "TIMESTAMP": ("azure", "arrival_time"),
    "arrived_at": ("vidur", "arrival_time"),
    "num_prefill_tokens": ("vidur", "input_length"),
    "num_decode_tokens": ("vidur", "output_length"),
    "custom_id": ("openai-batch", "id"),
    "usage": ("openai-batch", "input_length and output_length"),
    "conversations": ("sharegpt", "prompt and response"),
    "messages": ("messages", "prompt"),
    "startTime": ("litellm", "arrival_time"),
    "prompt_tokens": ("litellm", "input_length"),
    "completion_tokens": ("litellm", "output_length"),
    "input_lens": ("vllm-bench", "input_length"),
    "output_lens": ("vllm-bench", "output_length"),
}
"""Fields that a format reads and tracesim's own does not: the format, and what tracesim has instead."""


_NO_TRACE = (
    "is neither JSON nor CSV with a header, and so no trace; a trace has one JSON object per line, such as "
    '{"prompt": "Hi", "response": " there"}, or is a file of another format that --trace-format names'
)
_CONVERSATIONS = frozenset({"conversations", "messages"})  # all that a record of their formats needs
_OF_LENGTHS = frozenset({"mooncake", "bailian"})
_MOST_RECORDS = 50
_MOST_NAMES = 8
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:]', re.DOTALL)
_WORDS = re.compile("[A-Z]?[a-z]+|[A-Z]+|[0-9]+")


def foreign_field(name: str, others: Collection[str]) -> Finding | None:
    """Return the finding that a field is another format's; `others` are the fields of the record."""
    if name not in _FOREIGN_FIELDS:
        return None
    format_name, own = _FOREIGN_FIELDS[name]
    is_readable = name in _CONVERSATIONS or (format_name in _OF_LENGTHS and "input_length" in others)
    advice = f"--trace-format {format_name} reads it" if is_readable else f"a trace has {own} instead"
    return Finding("other-format", name, f"is ignored: it is a field of the format {format_name}; {advice}")


def detect_format(file: InputFile) -> FormatName | TraceProblem:
    """Return the format of a file, or a problem if it is of no known format or cannot be read."""
    if not is_parquet(file.head):
        found = format_of_text(file.head)
        if isinstance(found, Finding):
            return problem(found.code, file.name, None, None, found.message)
        return found
    columns = parquet_columns(file)
    if isinstance(columns, TraceProblem):
        return columns
    by_columns = (name for name, needed in _COLUMNS.items() if {*needed[:2]} <= {*columns})
    if name := format_of_names(columns) or next(by_columns, None):
        return name
    if any(name in contents for contents in _OWN_CONTENTS for name in columns):
        return OWN
    found = _unknown("is a Parquet file with the columns", columns, list(_READ))
    return problem(found.code, file.name, None, None, found.message)


def format_of_text(head: bytes) -> FormatName | Finding:
    """Return the format of a file that begins with `head`: tracesim's own where nothing shows another.

    A file that shows that it is of no known format gives a finding, which names what was found.
    """
    head = head.lstrip()
    if kind := other_kind(head, []):
        return _of_other_kind(kind)
    if head.startswith(b"{") or is_document(head):
        return _format_of_objects(head)
    lines = [line for line in head.splitlines() if line.strip()]
    if not lines:
        return OWN
    if any(line.lstrip().startswith(b"{") for line in lines):
        return _format_of_objects(head)
    whole_lines = lines[:_MOST_RECORDS] if len(lines) == 1 else lines[:-1][:_MOST_RECORDS]
    rows = [split_cells(line, delimiter_of(lines[0])) for line in whole_lines]
    columns = [] if isinstance(rows[0], Finding) else [cell.strip() for cell in rows[0]]
    for name, needed in _COLUMNS.items():
        if {*needed[:2]} <= {*columns}:
            return name
    is_row = [not isinstance(row, Finding) and len(row) == len(columns) for row in rows]
    if len(columns) > 1 and sum(is_row) > len(rows) / 2:
        formats = list(_COLUMNS) if _OWN_NAMES.isdisjoint(columns) else [OWN, *_COLUMNS]
        return _unknown("looks like CSV with the columns", columns, formats, len(formats))
    return OWN if _is_json(lines[0]) else Finding("unknown-format", None, _NO_TRACE)


def kind_of_file(head: bytes) -> OtherKind | None:
    """Return what a file is that begins with `head`, a trace or something else; None if that is unknown."""
    if is_parquet(head):
        return OtherKind("a Parquet file", "tracesim convert writes it as a trace, if it has one")
    head = head.lstrip()
    records = list(islice(_first_objects(head), _MOST_RECORDS))
    if kind := other_kind(head, records):
        return kind
    found = format_of_text(head)
    is_own = head.startswith((b"{", b"[")) and any(_OWN_NAMES & record.keys() for record in records)
    if isinstance(found, Finding) or (found == OWN and not is_own):
        return None
    return OtherKind(
        f"a trace ({found})",
        "tracesim replay writes its steps with --save-steps FILE, and a report with --save-report FILE",
    )


def format_of_names(names: Iterable[str]) -> FormatName | None:
    """Return the format whose records have these names, if it is certain."""
    found = {*names}
    if all(found & texts for texts in _OWN_TEXTS):
        return OWN
    for name, alternatives in _KEYS.items():
        if any(keys <= found for keys in alternatives):
            return name
    return None


def _format_of_objects(head: bytes) -> FormatName | Finding:
    """Return the format of JSON objects: all names in the first records count, not only the first one's."""
    records = list(islice(_first_objects(head), _MOST_RECORDS))
    names = dict.fromkeys([name for record in records for name in record])
    timed = next((record for record in records if _TIMES & record.keys()), {})
    other_times = _MOONCAKE_TIMES if _OWN_TIMES & timed.keys() else _OWN_TIMES
    if found := format_of_names(names.keys() - other_times):
        return found
    if kind := other_kind(head, records):
        return _of_other_kind(kind)
    is_broken = len(names) < 2 and all(value is None for record in records for value in record.values())
    known = {name: similar_field(name) or name for name in names}
    has_sides = [not contents.isdisjoint(known.values()) for contents in _OWN_CONTENTS]
    if is_broken or all(has_sides) or (any(has_sides) and CHECKS.keys() >= {*known.values()}):
        return OWN
    is_single = is_document(head) or len(head.splitlines()) == 1
    wrapped = _wrapped(head, records[0]) if is_single and records else None
    return wrapped or _unknown("has the keys", list(names), [name for name in _READ if name not in _COLUMNS])


def _first_objects(head: bytes) -> Iterator[dict[str, object]]:
    """Yield the first objects, or the names in one that is not in `head` as a whole."""
    if is_document(head):
        for start, end in _objects_in(head):
            try:
                yield orjson.loads(head[start:end])
            except orjson.JSONDecodeError:
                yield dict.fromkeys(top_level_names(head[start:end]))
        return
    for line in head.split(b"\n"):
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            value = dict.fromkeys(top_level_names(line)) if line.lstrip().startswith(b"{") else None
        if isinstance(value, dict):
            yield value


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _objects_in(head: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each outermost object of a document begins and ends; the last may be incomplete."""
    depth, start = 0, -1
    for token in _TOKENS.finditer(head):
        mark = token[0]
        if mark == b"{":
            start = token.start() if depth == 0 else start
            depth += 1
        elif mark == b"}":
            depth -= 1
            if depth == 0:
                yield start, token.end()
    if depth > 0:
        yield start, len(head)


def top_level_names(text: bytes) -> list[str]:
    """Return the names in the outermost object of a text, which may end early."""
    names: list[str] = []
    depth, last = 0, b""
    for token in _TOKENS.finditer(text):
        mark = token[0]
        depth += (mark in b"{[") - (mark in b"}]")
        if mark == b":" and depth == 1 and last:
            names.append(last[1:-1].decode(errors="replace"))
        last = mark if mark[:1] == b'"' else b""
    return names


def _of_other_kind(kind: OtherKind) -> Finding:
    return Finding("unknown-format", None, f"is {kind.name}, not a trace; {kind.use}")


def _wrapped(head: bytes, record: dict[str, object]) -> Finding | None:
    """Return the finding that the records of a known format are inside one object, `record`.

    `head` begins with this object, which may be incomplete; its values are then None.
    """
    values = list(record.values())
    if len(values) > 1 and all(isinstance(value, dict) and _is_record(value) for value in values):
        message = "has its records as the fields of one object; write them one per line: jq -c '.[]'"
        return Finding("unknown-format", None, message)
    key, before, depth = b"", b"", 0
    for token in _TOKENS.finditer(head):
        mark = token[0]
        if (
            mark == b"{"
            and depth == 2
            and before == b"["
            and _is_record(top_level_names(head[token.start() :]))
        ):
            field = quote(key[1:-1].decode(errors="replace"))
            message = f"has its records in {field} of one object; write them one per line: jq -c '.{field}[]'"
            return Finding("unknown-format", None, message)
        depth += (mark in b"{[") - (mark in b"}]")
        key = mark if depth == 1 and mark[:1] == b'"' else key
        before = mark
    return None


def _is_record(names: Iterable[str]) -> bool:
    """Whether an object with these names is a record of a known format."""
    return format_of_names(names) is not None or not any(side.isdisjoint(names) for side in _OWN_CONTENTS)


def _unknown(found: str, names: Sequence[str], formats: Sequence[FormatName], most: int = 2) -> Finding:
    """Return the finding that a file is of no known format; it names the `most` nearest of `formats`."""
    shown = ", ".join(map(quote, names[:_MOST_NAMES]))
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    words = _words(names)
    read = {name: _words(_READ[name]) for name in formats}
    likeness = {name: len(words & each) / len(words | each) for name, each in read.items()}
    nearest = sorted(formats, key=likeness.__getitem__, reverse=True)
    if most < len(formats):
        nearest = [name for name in nearest if likeness[name]][:most] or [OWN]
    described = ", ".join(f"{name} ({', '.join(_READ[name])})" for name in nearest)
    message = f"{found} {shown}{more}, which no known format has; the nearest: {described}"
    advice = "convert the file, or name its format with --trace-format"
    return Finding("unknown-format", None, f"{message}; {advice}")


def _words(names: Iterable[str]) -> set[str]:
    """Return the words in names, in lower case and without the plural's s."""
    return {word.lower().rstrip("s") for name in names for word in _WORDS.findall(name)}
