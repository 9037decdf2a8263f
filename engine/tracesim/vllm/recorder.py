"""What a real vLLM does, recorded: a trace of its requests, and the records of its steps.

`Recorder` turns what a scheduler reports into lines. `BackgroundLog` lets a thread do so, off the engine's
path, and `LineFile` never leaves half a line.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from tracesim.errors import TokenizerError
from tracesim.responses.recorded_response import RecordedResponse, RecordedTokens
from tracesim.responses.sampling_params import SamplingParams
from tracesim.trace.record import TraceRecord
from tracesim.trace.writer import record_to_json
from tracesim.vllm.record_settings import Arrivals, Content
from tracesim.vllm.served_tokenizer import ServedTokenizer
from tracesim.vllm.step_logger import Counts, StepLogger
from tracesim.vllm.step_times import StepTimes

_EMPTY: Final = dict.fromkeys(TraceRecord._fields)


class LineFile:
    """A new file of whole lines: a full disk, or the end of the process, leaves none half-written."""

    def __init__(self, path: str) -> None:
        """Raises OSError if `path` cannot be written, and FileExistsError if there is a file already."""
        self.path = path
        self._file = Path(path).open("xb", buffering=0)  # noqa: SIM115 - open until close
        self._lines: list[bytes] = []
        self._size = 0

    def write(self, line: bytes) -> None:
        """Take a line, for the next `flush`."""
        self._lines.append(line)

    def flush(self) -> None:
        """Write the lines taken so far. Raises OSError; the file then ends with the last whole line."""
        if not self._lines:
            return
        block = memoryview(b"".join(self._lines))
        self._lines = []
        written = 0
        try:
            while written < len(block):
                written += self._file.write(block[written:])
        except OSError as error:
            self._file.truncate(self._size + bytes(block[:written]).rfind(b"\n") + 1)
            error.filename = self.path
            raise
        self._size += len(block)

    def close(self) -> None:
        """Write what is left, and take no more. Raises OSError."""
        try:
            self.flush()
        finally:
            self._file.close()


@dataclass(slots=True, eq=False)
class _Recording:
    """A request of vLLM, `source`, and the output tokens that it has so far. In the log it is `name`."""

    name: str
    source: Any
    num_prompt_tokens: int
    arrival_step: int
    recorder: Recorder
    token_ids: list[int] = field(default_factory=list)
    cut_at: int | None = None
    has_ended: bool = False

    def emit(self, first: int, output: Any) -> list[tuple[int | None, str | None]]:
        """Keep the tokens of an `EngineCoreOutput`, and return their ids, unless they are hidden.

        Their texts are not known. A token that ends the output as such, as the end-of-sequence token does, is
        no part of a recording.
        """
        self.token_ids[first:] = token_ids = output.new_token_ids
        if output.finish_reason is not None and str(output.finish_reason) == "stop":
            self.token_ids.pop()
            token_ids = [*token_ids[:-1], None]
        if self.recorder.hides_tokens:
            token_ids = [None] * len(token_ids)
        return [(token_id, None) for token_id in token_ids]

    def completed_stop(self, num_tokens: int) -> str | None:
        """Return the stop string that is complete in the first `num_tokens` output tokens, if any."""
        params = self.source.sampling_params
        tokenizer = self.recorder.tokenizer
        if tokenizer is None or params is None or not params.stop:
            return None
        spell = tokenizer.responses.decode_tokens_bytes
        tokens = RecordedTokens(num_tokens, self.token_ids[:num_tokens], spell)
        limits = SamplingParams(min_tokens=params.min_tokens, stop=params.stop)
        with suppress(TokenizerError):  # a model may emit ids that its tokenizer does not have
            return RecordedResponse(tokens, limits).stop_reason
        return None


class Recorder:
    """Writes a line of a trace for each request that ended, and a line for each step.

    Requests are called r1, r2, ... in the order of their arrival, in which the trace has them, too: a request
    is written when all before it have ended. Arrival times, and the times of steps, count from the first
    arrival.

    `content` says how much of a request is recorded: its `text` and its token ids, or less. `arrivals` says
    whether it has the moment of its arrival at vLLM's front end or the number of the step before which it
    came to the scheduler.
    """

    def __init__(
        self,
        trace: LineFile,
        steps: LineFile,
        *,
        content: Content,
        arrivals: Arrivals,
        tokenizer: ServedTokenizer | None,
        hashes: PromptHashes,
        prefix_caching: bool,
        async_scheduling: bool,
    ) -> None:
        """Without a `tokenizer` there is no text, and no stop string is found."""
        self.hides_tokens = content in ("hashes", "lengths")
        self.tokenizer = tokenizer if content == "text" else None
        self._trace, self._steps = trace, steps
        self._content: Content = content
        self._arrivals = arrivals
        self._hashes = hashes
        self._requests: dict[str, _Recording] = {}
        self._num_requests = 0
        self._by_arrival: deque[_Recording] = deque()  # those that are not written yet
        self._origin: float | None = None
        self._wall_clock = time.time() - time.monotonic()
        self._times = StepTimes(async_scheduling=async_scheduling)
        self._logger = StepLogger(
            steps,
            self._requests,
            prefix_caching=prefix_caching,
            async_scheduling=async_scheduling,
            times=self._times,
        )

    def added(self, request: Any) -> None:
        """Give a request of vLLM its name."""
        if self._origin is None:
            self._origin = request.arrival_time
            self._times.origin = round((self._origin - self._wall_clock) * 10**9)
        self._num_requests += 1
        name = f"r{self._num_requests}"
        recording = _Recording(name, request, request.num_prompt_tokens, self._logger.number, self)
        self._requests[request.request_id] = recording
        self._by_arrival.append(recording)

    def planned(self, plan: Any, preempted: Sequence[str], counts: Counts, moment: int) -> None:
        """Record a plan; requests that ended before the plan before are forgotten."""
        self._logger.planned(plan, preempted, counts, moment)
        for request_id in plan.finished_req_ids:
            if request := self._requests.pop(request_id, None):
                request.has_ended = True  # long ago, unless it was refused
        self._write_ended()

    def computed(
        self, outputs: Sequence[Any], discarded: Sequence[str], counts: Counts, moment: int | None
    ) -> None:
        """Record the output of a plan, and the requests that end with it."""
        self._logger.computed(outputs, discarded, counts, moment)
        for output in outputs:
            if output.finish_reason is not None and output.request_id in self._requests:
                self._requests[output.request_id].has_ended = True
        self._write_ended()

    def aborted(self, request_ids: Sequence[str], counts: Counts) -> None:
        """Record requests that the front end ended: a stop string is complete, or the client has left."""
        self._logger.aborted(request_ids, counts)
        self._cut(request_ids)

    def flush(self) -> None:
        """Write both files as far as they are known. Raises OSError."""
        self._trace.flush()
        self._steps.flush()

    def close(self, alive: Collection[str], counts: Counts) -> None:
        """Record requests that have not ended with the tokens that they have, and close both files."""
        self._cut(alive)
        self._logger.close(alive, counts)
        self._trace.close()

    def _cut(self, request_ids: Iterable[str]) -> None:
        """Note requests that end before the engine has ended them.

        Unless a stop string shows where a request ends, the number of its tokens becomes its limit.
        """
        for request_id in request_ids:
            if request := self._requests.get(request_id):
                num_tokens = len(request.token_ids)
                request.cut_at = None if request.completed_stop(num_tokens) else num_tokens
                request.has_ended = True
        self._write_ended()

    def _write_ended(self) -> None:
        """Write the lines of requests before which all have ended; one without any tokens has no line."""
        while self._by_arrival and self._by_arrival[0].has_ended:
            request = self._by_arrival.popleft()
            if request.cut_at != 0:
                self._trace.write(record_to_json(self._record(request)))

    def _record(self, request: _Recording) -> TraceRecord:
        source = request.source
        fields = {**_EMPTY, "id": request.name, "arrival_step": 0, **self._content_of(request)}
        if self._arrivals == "steps":
            fields["arrival_step"] = request.arrival_step
        else:
            assert self._origin is not None
            fields["arrival_time"] = round(max(0.0, source.arrival_time - self._origin), 6)
        fields["priority"] = source.priority or None
        params = source.sampling_params
        if params is not None:
            limit = fields["max_tokens"] = request.cut_at or params.max_tokens
            fields["min_tokens"] = min(params.min_tokens, limit or params.min_tokens) or None
            if self.tokenizer is not None and params.stop:
                fields["stop"] = tuple(params.stop)
        return TraceRecord(**fields)

    def _content_of(self, request: _Recording) -> dict[str, Any]:
        """Return the fields of a request that have its prompt and its answer, as far as they are wanted."""
        prompt, response = request.source.prompt_token_ids, request.token_ids
        if prompt is None or self.hides_tokens:  # embeddings take the place of tokens, or nobody may see them
            lengths = {"input_length": request.num_prompt_tokens, "output_length": len(response)}
            if prompt is None or self._content == "lengths":
                return lengths
            return {**lengths, "hash_ids": self._hashes(prompt), "hash_block_size": self._hashes.block_size}
        fields = {"prompt_token_ids": prompt, "response_token_ids": response}
        if self.tokenizer is not None:
            fields["prompt"] = self.tokenizer.text(prompt) or None
            fields["response"] = self.tokenizer.shown_text(response)
        return fields


class PromptHashes:
    """Names the blocks of a prompt: equal prefixes have equal ids, and nothing else can be seen from them.

    An id is a keyed BLAKE2b hash of the block and the ids before it. The key is drawn at random, and is
    never written.
    """

    def __init__(self, block_size: int) -> None:
        """An id stands for `block_size` tokens."""
        self.block_size = block_size
        self._key = os.urandom(32)

    def __call__(self, token_ids: Sequence[int]) -> list[int]:
        """Return the ids of a prompt, the last of which may stand for fewer tokens."""
        ids = []
        digest = b""
        for start in range(0, len(token_ids), self.block_size):
            block = array("q", token_ids[start : start + self.block_size]).tobytes()
            digest = blake2b(digest + block, digest_size=16, key=self._key).digest()
            ids.append(int.from_bytes(digest[:8], "big"))
        return ids


class BackgroundLog:
    """Lets a thread call a recorder, and flush it every `interval` seconds; the engine only makes notes.

    When the engine has no requests left, everything is written at once: vLLM kills the engine of a server
    that is stopped. An error ends the recording and is passed to `report`, once; the engine carries on
    without it.
    """

    def __init__(self, recorder: Recorder, report: Callable[[str], object], interval: float = 0.1) -> None:
        self._recorder = recorder
        self._report = report
        self._interval = interval
        self._notes: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._wakes = threading.Event()
        self._is_closing = False
        self._has_failed = False
        self._thread = threading.Thread(target=self._run, name="tracesim-recorder", daemon=True)
        self._thread.start()

    def added(self, request: Any) -> None:
        """Note the arrival of a request."""
        self._note(self._recorder.added, request)

    def planned(self, plan: Any, preempted: Sequence[str], counts: Counts, moment: int) -> None:
        """Note a plan, which nobody changes afterwards."""
        self._note(self._recorder.planned, plan, preempted, counts, moment)

    def computed(self, outputs: Sequence[Any], discarded: Sequence[str], counts: Counts, moment: int) -> None:
        """Note the output of a plan."""
        self._note(self._recorder.computed, outputs, discarded, counts, moment)
        if not (counts.running or counts.waiting):
            self._wakes.set()

    def aborted(self, request_ids: Sequence[str], counts: Counts) -> None:
        """Note that requests were aborted."""
        self._note(self._recorder.aborted, request_ids, counts)

    def close(self, alive: Collection[str], counts: Counts) -> None:
        """Write everything, and return when it is written."""
        self._note(self._recorder.close, alive, counts)
        self._is_closing = True
        self._wakes.set()
        self._thread.join()

    def _note(self, method: Callable[..., None], *arguments: Any) -> None:
        if not self._has_failed:
            self._notes.append((method, arguments))

    def _run(self) -> None:
        try:
            while not self._is_closing:
                self._wakes.wait(self._interval)
                self._wakes.clear()
                self._work_off()
                self._recorder.flush()
            self._work_off()
        except Exception as error:
            self._has_failed = True
            self._notes.clear()
            self._report(f"recording ended at an error: {_described(error)}")

    def _work_off(self) -> None:
        while self._notes:
            method, arguments = self._notes.popleft()
            method(*arguments)
            time.sleep(0)  # lets the engine take the interpreter before the next line


def _described(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'the file'}: {error.strerror}"
    return "".join(traceback.format_exception(error)).rstrip()
