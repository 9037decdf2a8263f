"""Record golden cases from vLLM's own V1 scheduler.

Run it in an environment that has vLLM (a CPU build is enough: it loads no model and uses no GPU):

    python tests/golden/record_vllm.py --random 500 --seed 1 fresh.jsonl.gz
    python tests/golden/record_vllm.py --random 20 --seed 1 --scale 10 large.jsonl.gz
    python tests/golden/record_vllm.py --like tests/golden/v1.jsonl.gz again.jsonl.gz

The first two record random cases; with `--scale 10` there are ten times as many requests, ten times as long.
`--like` records the cases of another file again, and exits with 1 if vLLM takes other steps in any of them.
README.md in this folder describes the format, which is that of `v1.jsonl.gz`.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import argparse
import gzip
import json
import logging
import random
import tempfile
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

Json = dict[str, Any]

END = -1
"""The token id that makes vLLM stop. It replaces a response's last token, on whose id nothing depends: the
request has ended when it is emitted, so it is never computed and never cached."""

MAX_STEPS = 20_000
"""Steps of a case, per unit of scale; a case that takes more makes no progress."""

MODEL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "vocab_size": 100,
    "max_position_embeddings": 2**24,
}


# ---- vLLM, driven with recorded responses


class NoProgressError(Exception):
    """vLLM does not reach the end of a case."""


class Driver:
    """vLLM's scheduler, stepped with the tokens of recorded responses in place of a model's."""

    def __init__(self, config: Json, model: Path) -> None:
        self.is_async = bool(config.get("async_scheduling"))
        self.scheduler = vllm_scheduler(config, model)
        self.stop_delay: int = config.get("stop_delay", 0)
        self.stops: dict[str, int] = {}
        self.aborts_due: dict[str, int] = {}
        self.num_emitted: Counter[str] = Counter()
        self.responses: dict[str, list[int]] = {}
        self.new_request = partial(vllm_request, hasher=block_hasher(config))

    def add(self, request: Json, order: int) -> None:
        """Add a request to vLLM; `order` is its time of arrival."""
        self.responses[request["id"]] = [*request["response_ids"][:-1], END]
        if request.get("stop_after"):
            self.stops[request["id"]] = request["stop_after"]
        self.scheduler.add_request(self.new_request(request, order))

    def has_work(self) -> bool:
        """Return whether there are requests or, asynchronously, ended ones that workers do not know of."""
        return bool(self.scheduler.has_requests() if self.is_async else self.scheduler.requests)

    def schedule(self) -> Plan:
        """Plan a batch, and note the figures right after planning."""
        plan = self.scheduler.schedule()
        requests = [self.scheduler.requests[name] for name in plan.num_scheduled_tokens]
        batch = zip(requests, plan.num_scheduled_tokens.values(), strict=True)
        scheduled = [[r.request_id, r.num_computed_tokens - tokens, tokens] for r, tokens in batch]
        sampling = {request.request_id for request in requests if self.samples(request)}
        launched = {**self.figures(), "running": len(self.scheduler.running)}
        step = {"scheduled": scheduled, "preempted": sorted(plan.preempted_req_ids)}
        return Plan(plan, sampling, {**step, "launched": launched} if self.is_async else step)

    def samples(self, request: Any) -> bool:
        """Return whether a request samples a token in the batch just planned: all it has is computed."""
        if not self.is_async:
            return bool(request.num_computed_tokens == request.num_tokens)
        placeholders = request.num_output_placeholders  # of the token that it samples, too
        return bool(placeholders and request.num_computed_tokens == request.num_tokens + placeholders - 1)

    def update(self, plan: Plan) -> Json:
        """Give each request of a batch that is due a token its next one, and return what happened."""
        self.apply_aborts()
        in_core = self.scheduler.requests.keys() - self.aborts_due.keys()
        gone = [name for name in plan.batch.num_scheduled_tokens if name not in in_core]
        clients = self.scheduler.update_from_output(plan.batch, self.sampled(plan)).values()
        outputs = [output for client in clients for output in client.outputs]
        outputs = [output for output in outputs if output.request_id not in self.aborts_due]
        finished = {o.request_id: str(o.finish_reason) for o in outputs if o.finish_reason is not None}
        emitted = [output.request_id for output in outputs if output.new_token_ids]
        return {
            **plan.step,
            "emitted": emitted,
            "finished": {**finished, **self.find_stops(emitted)},
            **({"discarded": gone} if self.is_async or self.stop_delay else {}),
            **self.figures(),
        }

    def find_stops(self, emitted: list[str]) -> dict[str, str]:
        """Do what the front end does with the tokens of a batch: return whose stop strings are complete.

        A request that vLLM has not ended with the same token is aborted, now or `stop_delay` plans later.
        """
        stopped: dict[str, str] = {}
        for name in emitted:
            request = self.scheduler.requests.get(name)
            self.num_emitted[name] += 1
            if self.num_emitted[name] == self.stops.get(name):
                stopped[name] = "stop"
                if request is not None and not self.stop_delay:
                    self.abort(name)
                elif request is not None:
                    self.aborts_due[name] = self.stop_delay
        return stopped

    def apply_aborts(self) -> None:
        """Abort the requests whose aborts have come, while a batch is at work."""
        for name, plans_left in list(self.aborts_due.items()):
            self.aborts_due[name] = plans_left - 1
            if plans_left == 1 or name not in self.scheduler.requests:
                del self.aborts_due[name]
                self.abort(name)

    def abort(self, name: str) -> None:
        """Let vLLM abort a request, if it still has it; one at a time, so in a known order."""
        from vllm.v1.request import RequestStatus

        self.scheduler.finish_requests([name], RequestStatus.FINISHED_ABORTED)

    def figures(self) -> Json:
        """Return who runs, in order, how many wait, and how many blocks are free."""
        return {
            "running": [request.request_id for request in self.scheduler.running],
            "waiting": self.scheduler.get_request_counts()[1],
            "free_blocks": self.scheduler.kv_cache_manager.block_pool.get_num_free_blocks(),
        }

    def sampled(self, plan: Plan) -> Any:
        """Return what a model runner would: the next token of each request of the batch that samples one."""
        from vllm.v1.outputs import ModelRunnerOutput

        names = list(plan.batch.num_scheduled_tokens)
        return ModelRunnerOutput(
            req_ids=names,
            req_id_to_index={name: index for index, name in enumerate(names)},
            sampled_token_ids=[[self.next_token(name)] if name in plan.sampling else [] for name in names],
        )

    def next_token(self, name: str) -> int:
        """Return the next token of a request; `END` for one that has ended, whose token is dropped."""
        request = self.scheduler.requests.get(name)
        return END if request is None else self.responses[name][request.num_output_tokens]


class Plan(NamedTuple):
    """A planned batch: vLLM's own object, which requests sample a token, and what is known of its step."""

    batch: Any
    sampling: set[str]
    step: Json


def vllm_scheduler(config: Json, model: Path) -> Any:
    """Return vLLM's scheduler with a case's settings and one group of full attention, without an engine."""
    import torch
    from vllm.config import CacheConfig, DeviceConfig, ModelConfig, SchedulerConfig, VllmConfig
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.structured_output import StructuredOutputManager

    block_size, num_blocks = config["block_size"], config["num_blocks"]
    caching = {"block_size", "num_blocks", "enable_prefix_caching", "stop_delay"}
    scheduling = {name: value for name, value in config.items() if name not in caching}
    scheduling.setdefault("async_scheduling", False)
    cache = CacheConfig(block_size=block_size, enable_prefix_caching=config["enable_prefix_caching"])
    cache.num_gpu_blocks = num_blocks
    settings = VllmConfig(
        model_config=ModelConfig(
            model=str(model), skip_tokenizer_init=True, max_model_len=config["max_model_len"]
        ),
        cache_config=cache,
        scheduler_config=SchedulerConfig(is_encoder_decoder=False, **scheduling),
        device_config=DeviceConfig("cpu"),
    )
    attention = FullAttentionSpec(block_size=block_size, num_kv_heads=1, head_size=8, dtype=torch.float32)
    groups = [KVCacheGroupSpec(["layer"], attention)]
    scheduler = AsyncScheduler if scheduling["async_scheduling"] else Scheduler
    sizes = {"block_size": block_size, "hash_block_size": block_size}  # before vLLM 0.20 only the first
    known = signature(Scheduler.__init__).parameters
    return scheduler(
        vllm_config=settings,
        kv_cache_config=KVCacheConfig(num_blocks=num_blocks, kv_cache_tensors=[], kv_cache_groups=groups),
        structured_output_manager=StructuredOutputManager(settings),
        **{name: size for name, size in sizes.items() if name in known},
    )


def remove_unknown_settings(config: Json) -> None:
    """Remove from a random case what this vLLM has no setting for: a watermark, before 0.23."""
    from dataclasses import fields

    from vllm.config import SchedulerConfig

    if "watermark" not in {field.name for field in fields(SchedulerConfig)}:
        config.pop("watermark", None)


def vllm_request(request: Json, order: int, hasher: Any) -> Any:
    """Return a request for vLLM, with the limit of the case or one that is never reached."""
    from vllm import SamplingParams
    from vllm.v1.request import Request

    return Request(
        request_id=request["id"],
        prompt_token_ids=list(request["prompt_ids"]),
        sampling_params=SamplingParams(max_tokens=request["max_tokens"] or 2**31, stop_token_ids=[END]),
        pooling_params=None,
        arrival_time=float(order),
        priority=request.get("priority", 0),
        block_hasher=hasher,
    )


def block_hasher(config: Json) -> Any:
    """Return vLLM's hash function for a request's full blocks, or None without prefix caching."""
    from vllm.utils.hashing import sha256
    from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash

    if not config["enable_prefix_caching"]:
        return None
    init_none_hash(sha256)
    return get_request_block_hasher(config["block_size"], sha256)


def recorded(case: Json, model: Path, max_steps: int = MAX_STEPS) -> Json:
    """Return a case with all steps, idle ones included, that vLLM takes until the last request finishes."""
    import vllm

    check_admissible(case["config"], case["requests"])
    driver = Driver(case["config"], model)
    pending = deque(sorted(enumerate(case["requests"]), key=lambda item: item[1]["arrival_step"]))
    in_flight: deque[Plan] = deque()
    steps: list[Json] = []
    iteration = 0
    while pending or in_flight or driver.has_work():
        if iteration == max_steps:
            raise NoProgressError(case["name"])
        while pending and pending[0][1]["arrival_step"] <= iteration:
            order, request = pending.popleft()
            driver.add(request, order)
        if driver.has_work() or not driver.is_async:
            plan = driver.schedule()
            plan.step["step"] = iteration
            in_flight.append(plan)
        # With asynchronous scheduling the first batch after an idle time is the only one in flight, and the
        # next one is planned before its output is taken in (`EngineCore.step_with_batch_queue`).
        is_only_one = len(in_flight) == 1 and in_flight[0].step["step"] == iteration
        if in_flight and not (driver.is_async and is_only_one and in_flight[0].step["scheduled"]):
            steps.append(driver.update(in_flight.popleft()))
        iteration += 1
    scheduler = "V1 AsyncScheduler" if driver.is_async else "V1 scheduler"
    source = f"vllm {vllm.__version__.partition('+')[0]} {scheduler}"
    return {**case, "engine": "vllm-v1", "source": source, "steps": steps}


def check_admissible(config: Json, requests: list[Json]) -> None:
    """Raise ValueError if vLLM would refuse a request, or could never finish it."""
    for request in requests:
        blocks = blocks_needed(request, config["block_size"], config["max_model_len"])
        if len(request["prompt_ids"]) >= config["max_model_len"] or blocks >= config["num_blocks"]:
            raise ValueError(f"{request['id']} cannot run under {config}")


def blocks_needed(request: Json, block_size: int, max_model_len: int) -> int:
    """Return the most blocks that a request holds: for all tokens but the last, which is never computed."""
    prompt, response = len(request["prompt_ids"]), len(request["response_ids"])
    emitted = min(response, request["max_tokens"] or response, max_model_len - prompt)
    return -(-(prompt + emitted - 1) // block_size)


def model_folder(folder: Path) -> Path:
    """Write the configuration of a model, and nothing else, into a folder for vLLM; return the folder."""
    (folder / "config.json").write_text(json.dumps(MODEL))
    return folder


# ---- Random cases


def random_case(seed: int, number: int, scale: int = 1) -> Json:
    """Return a case without steps, with any settings; equal arguments give equal cases."""
    draw = random.Random(f"{seed} {number} {scale}")
    traffic = Traffic(draw, scale)
    arrivals = traffic.arrivals(draw.randint(2, 18) * scale)
    requests = [traffic.request(number, step) for number, step in enumerate(arrivals)]
    config = random_config(draw, requests, scale)
    if config["policy"] == "priority" or draw.random() < 0.1:
        priorities = random_priorities(draw, len(requests))
        requests = [{**r, "priority": priority} for r, priority in zip(requests, priorities, strict=True)]
    name = f"random-{seed}-{number}" if scale == 1 else f"random-x{scale}-{seed}-{number}"
    return {"name": name, "engine": "vllm-v1", "config": config, "requests": requests}


class Traffic:
    """Draws requests that share nothing, or that share prefixes, whole prompts and earlier turns."""

    def __init__(self, draw: random.Random, scale: int) -> None:
        self.draw = draw
        self.longest_prompt = scale * draw.choice([4, 16, 40, 80])
        self.longest_response = scale * draw.choice([6, 20, 40, 80])
        self.tokens = range(draw.choice([2, 50, 2000, 2000]))
        self.document = draw.choices(self.tokens, k=self.longest_prompt + self.longest_response)
        self.kinds = draw.choice(
            [["fresh"], ["document"], *[["fresh", "document", "again", "turn", "cut"]] * 3]
        )
        self.cut = draw.choice([0, 0, 0.5])
        self.earlier: list[Json] = []

    def request(self, number: int, arrival_step: int) -> Json:
        """Return the next request, which may share tokens with any request before it."""
        prompt = self.prompt()
        response = self.response(prompt)
        cut = self.draw.random() < self.cut
        request = {
            "id": f"r{number}",
            "arrival_step": arrival_step,
            "prompt_ids": prompt,
            "response_ids": response,
            "max_tokens": self.draw.randint(1, len(response) + 3) if cut else None,
        }
        self.earlier.append(request)
        return request

    def prompt(self) -> list[int]:
        """Return a prompt of some kind; only that of a conversation can be longer, up to three times."""
        kind = self.draw.choice(self.kinds)
        tail = self.fresh(self.longest_prompt)
        if kind == "document":
            return self.document[: len(tail)] + self.draw.choice([[], tail])
        if kind == "fresh" or not self.earlier:
            return tail
        request = self.draw.choice(self.earlier)
        turn = request["prompt_ids"] + request["response_ids"]
        if kind == "turn":
            turn = turn + self.draw.choice([[], tail])
        elif kind == "cut":
            turn = turn[: self.draw.randint(1, len(turn))]
        else:
            turn = request["prompt_ids"]
        return list(turn[: 3 * self.longest_prompt])

    def response(self, prompt: list[int]) -> list[int]:
        """Return the response of the same prompt before, the rest of the document, or new tokens."""
        fresh = self.fresh(self.longest_response)
        if self.draw.random() < 0.5:
            return fresh
        for request in self.earlier:
            if request["prompt_ids"] == prompt:
                return list(request["response_ids"])
        begun = self.document[: len(prompt)] == prompt
        return self.document[len(prompt) :][: len(fresh)] or fresh if begun else fresh

    def fresh(self, longest: int) -> list[int]:
        """Return between one and `longest` new tokens."""
        size = 1 + int((longest - 1) * self.draw.random() ** self.draw.choice([0.5, 1, 3]))
        return self.draw.choices(self.tokens, k=size)

    def arrivals(self, count: int) -> list[int]:
        """Return arrivals: all at once, in bursts, over the run, or so far apart that the engine idles."""
        span = int(self.longest_response * self.draw.choice([0, 0.5, 1, 3, 12]))
        moments = [self.draw.randint(0, span) for _ in range(self.draw.choice([3, count]))]
        return sorted(self.draw.choices(moments, k=count))


def random_config(draw: random.Random, requests: list[Json], scale: int) -> Json:
    """Return settings under which each request can run by itself, and often not all of them together.

    In some of them everything that complicates preemption is on: priorities, chunks and prefix caching.
    """
    contended = draw.random() < 0.25
    block_size = draw.choice([1, 2, 4] if contended else [1, 2, 4, 8, 16])
    max_model_len = random_max_model_len(draw, requests)
    chunked = contended or draw.random() < 0.8
    budget = scale * draw.choice([draw.randint(1, 100), 8, 16, 32, 64, 512])
    budget = budget if chunked else max(budget, max_model_len)
    config = {
        "max_num_seqs": min(scale * draw.choice([1, 2, 4, 8, 16, 64]), budget),
        "max_num_batched_tokens": budget,
        "block_size": block_size,
        "num_blocks": 1 + random_blocks(draw, requests, block_size, max_model_len),
        "enable_prefix_caching": contended or draw.random() < 0.65,
        "enable_chunked_prefill": chunked,
        "policy": "priority" if contended else draw.choice(["fcfs", "priority"]),
        "max_model_len": max_model_len,
    }
    if contended or draw.random() < 0.2:
        config["long_prefill_token_threshold"] = min(draw.choice([1, 2, 4, 8, 8 * scale]), max_model_len)
    if draw.random() < 0.25:
        config["watermark"] = draw.choice([0.01, 0.05, 0.1, 0.2, 0.5, round(draw.random() * 0.99, 3)])
    if draw.random() < 0.3:
        config["scheduler_reserve_full_isl"] = False
    return config


def random_max_model_len(draw: random.Random, requests: list[Json]) -> int:
    """Return a length that all requests fit in, or that cuts some of them after at least one token."""
    least = 1 + max(len(request["prompt_ids"]) for request in requests)
    most = max(len(request["prompt_ids"]) + len(request["response_ids"]) for request in requests)
    return draw.choice([most + draw.randint(0, 50), most + 50, most * 2, draw.randint(least, most), least])


def random_blocks(draw: random.Random, requests: list[Json], block_size: int, max_model_len: int) -> int:
    """Return how many blocks there are: just enough for the largest request, or for a few, or for all."""
    needs = [blocks_needed(request, block_size, max_model_len) for request in requests]
    least = max(needs)
    tight = [least, least + draw.randint(0, 2), least + draw.randint(0, 1 + least // 2)]
    return draw.choice([*tight, *tight, draw.randint(least, 3 * least), max(3 * least, sum(needs))])


def random_priorities(draw: random.Random, count: int) -> list[int]:
    """Return any priorities, or rising ones, so that a request takes the blocks of those before it."""
    values = draw.choice([range(1), range(2), range(-2, 4), range(-100, 101), range(-100, 101)])
    priorities = draw.choices(values, k=count)
    return sorted(priorities, reverse=True) if draw.random() < 0.6 else priorities


# ---- The command


def random_stops(case: Json, stop_delay: int) -> None:
    """Let stop strings end some requests of a case, whose aborts come `stop_delay` plans late."""
    draw = random.Random(case["name"])
    case["name"] += f"-stop{stop_delay}"
    case["config"]["stop_delay"] = stop_delay
    for request in case["requests"]:
        length = len(request["response_ids"])
        request["stop_after"] = draw.choice([None, length, *[draw.randint(1, length) for _ in range(3)]])


def random_cases(
    count: int, seed: int, scale: int, model: Path, *, is_async: bool, stop_delay: int | None
) -> Iterator[Json]:
    """Record random cases, with asynchronous scheduling and stop strings or without."""
    for number in range(count):
        case = random_case(seed, number, scale)
        remove_unknown_settings(case["config"])
        if is_async:
            case["name"] += "-async"
            case["config"]["async_scheduling"] = True
        if stop_delay is not None:
            random_stops(case, stop_delay)
        yield recorded(case, model, MAX_STEPS * scale)


def cases_again(path: Path, model: Path) -> Iterator[Json]:
    """Record the cases of a file again; exit if some have changed."""
    changed = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for case in map(json.loads, lines):
            again = recorded(case, model, MAX_STEPS * 10)
            changed += [case["name"]] if again["steps"] != case["steps"] else []
            yield again
    if changed:
        raise SystemExit(f"Not as in {path} ({len(changed)}): {', '.join(changed)}")


def write(cases: Iterable[Json], path: Path) -> int:
    """Write cases one by one, equal bytes for equal cases; return how many."""
    count = 0
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as out:
        for case in cases:
            out.write(json.dumps(case).encode() + b"\n")
            count += 1
    return count


def main() -> None:
    """Record the cases that the command line asks for."""
    parser = argparse.ArgumentParser(description="Record golden cases from vLLM's own V1 scheduler.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--random", type=int, metavar="N", help="record N random cases")
    what.add_argument("--like", type=Path, metavar="FILE", help="record the cases of this file again")
    parser.add_argument("--seed", type=int, default=1, help="the seed of the random cases")
    parser.add_argument("--scale", type=int, default=1, help="how many times larger the random cases are")
    parser.add_argument("--async", dest="is_async", action="store_true", help="schedule asynchronously")
    parser.add_argument(
        "--stop-delay", type=int, metavar="N", help="let stop strings end requests, aborted N plans late"
    )
    parser.add_argument("out", type=Path, metavar="OUT.jsonl.gz")
    args = parser.parse_args()
    logging.disable(logging.WARNING)  # vLLM logs some for every scheduler
    with tempfile.TemporaryDirectory() as folder:
        model = model_folder(Path(folder))
        random_ones = random_cases(
            args.random or 0,
            args.seed,
            args.scale,
            model,
            is_async=args.is_async,
            stop_delay=args.stop_delay,
        )
        count = write(cases_again(args.like, model) if args.like else random_ones, args.out)
    parser.exit(0, f"{count} cases written to {args.out}\n")


if __name__ == "__main__":
    main()
