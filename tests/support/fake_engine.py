"""vLLM's engine core around tracesim's executor, with the fakes of `fake_vllm`."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

import fake_vllm
from fake_vllm import FakeRequest, FakeScheduler, params
from tracesim.vllm.model_folder import EOS_TOKEN


class ServedModel:
    """The tokenizer that `tracesim vllm-model` writes, with the face of one of `transformers`."""

    chat_template = "{{ messages }}"

    def __init__(self, folder: Path) -> None:
        tokenizers = pytest.importorskip("tokenizers")
        self.backend_tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.eos_token_id: int = self.backend_tokenizer.token_to_id(EOS_TOKEN)

    def encode(self, text: str, **_: Any) -> list[int]:
        token_ids: list[int] = self.backend_tokenizer.encode(text).ids
        return token_ids

    def decode(self, token_ids: Sequence[int], **_: Any) -> str:
        text: str = self.backend_tokenizer.decode(token_ids)
        return text

    def apply_chat_template(self, messages: Sequence[dict[str, str]], **_: Any) -> str:
        return "".join(f"{m['role']}: {m['content']}\n\n" for m in messages) + "assistant: "


def a_trace(tmp_path: Path, *records: dict[str, Any]) -> str:
    trace = tmp_path / "trace.jsonl"
    trace.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    return str(trace)


class Engine:
    """vLLM's engine core: it drives its scheduler and an executor, and its front end knows stop strings.

    With asynchronous scheduling two batches are in flight.
    """

    def __init__(
        self, model: ServedModel, trace: str | Path, *, async_scheduling: bool = False, **settings: Any
    ) -> None:
        from tracesim.vllm import TraceExecutor

        additional = {"sim_trace": str(trace), **{f"sim_{name}": value for name, value in settings.items()}}
        additional["sim_async_scheduling"] = async_scheduling
        scheduler_config = SimpleNamespace(
            get_scheduler_cls=lambda: FakeScheduler,
            scheduler_cls=None,
            async_scheduling=False,
            max_num_seqs=256,
            max_num_batched_tokens=2048,
            watermark=0.0,
            enable_chunked_prefill=True,
            policy="fcfs",
            long_prefill_token_threshold=0,
            scheduler_reserve_full_isl=True,
        )
        tokenizer = SimpleNamespace(
            tokenizer="m",
            tokenizer_revision=None,
            trust_remote_code=False,
            skip_tokenizer_init=False,
            max_model_len=1000,
        )
        config = SimpleNamespace(
            additional_config=additional,
            model_config=tokenizer,
            cache_config=fake_vllm.CACHE_CONFIG,
            parallel_config=SimpleNamespace(world_size=1, data_parallel_size=1, pipeline_parallel_size=1),
            scheduler_config=scheduler_config,
            speculative_config=None,
        )
        self.executor = TraceExecutor(config)
        assert scheduler_config.scheduler_cls is not None
        self.scheduler = scheduler_config.scheduler_cls(model.eos_token_id, config)
        self.num_batches = self.executor.max_concurrent_batches
        self.batches: deque[tuple[Future[Any], Any]] = deque()
        self.model = model
        self.requests: dict[str, FakeRequest] = {}
        self.failures: dict[str, str] = {}

    def add(self, request_id: str, prompt: str, **fields: Any) -> None:
        request = FakeRequest(request_id, self.model.encode(prompt), params(**fields))
        self.requests[request_id] = request
        self.scheduler.add_request(request)

    def step(self) -> None:
        if self.scheduler.has_requests():
            plan = self.scheduler.schedule()
            future = self.executor.execute_model(plan, non_block=True)
            if plan.num_scheduled_tokens:
                assert future.result() is None
                future = self.executor.sample_tokens(None, non_block=True)
            self.batches.append((future, plan))
            if len(self.batches) < self.num_batches and self.scheduler.has_requests():
                return
        future, plan = self.batches.popleft()
        for client in self.scheduler.update_from_output(plan, future.result()).values():
            failed = [each for each in client.outputs if each.finish_reason == "error"]
            self.failures.update((each.request_id, each.stop_reason) for each in failed)
        for request in list(self.scheduler.running):
            if any(stop in self.text(request.request_id) for stop in request.sampling_params.stop):
                self.scheduler.finish_requests([request.request_id], fake_vllm.Status.FINISHED_ABORTED)

    def run(self) -> None:
        while self.scheduler.requests:
            self.step()
        self.scheduler.shutdown()

    def answer(self, prompt: str, **fields: Any) -> str:
        """What the next request with this prompt is answered."""
        request_id = f"request {len(self.requests)}"
        self.add(request_id, prompt, **fields)
        self.run()
        return self.text(request_id)

    def text(self, request_id: str) -> str:
        return self.model.decode(self.requests[request_id].output)
