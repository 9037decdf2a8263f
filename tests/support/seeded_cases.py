"""Cases drawn from a seed, in which blocks, budget and `max_num_seqs` are often short at once."""

from __future__ import annotations

from random import Random
from typing import Any

from factories import a_record
from tracesim import TraceRecord

Settings = dict[str, Any]


def case_of(seed: int) -> tuple[list[TraceRecord], Settings]:
    """Return the records and the engine settings for `seed`."""
    rng = Random(seed)
    if rng.random() < 0.2:
        records, longest, block_size = _with_hash_ids(rng)
    else:
        records, longest, block_size = _with_text_or_lengths(rng)
    return records, _settings(rng, longest, block_size)


def late_case_of(seed: int) -> tuple[list[TraceRecord], Settings]:
    """Return a case of `vllm-v1` in which requests end late: asynchronously, or by a stop string, or both."""
    records, settings = case_of(seed)
    rng = Random(-seed - 1)
    settings |= {
        "engine": "vllm-v1",
        "async_scheduling": rng.random() < 0.7,
        "stop_delay": rng.choice([0, 0, 1, 1, 2, 3, 7]),
    }
    return [_with_stop_string(record, rng) for record in records], settings


def _with_stop_string(record: TraceRecord, rng: Random) -> TraceRecord:
    """Return a record that a stop string may end, if it has a text in which that can be found."""
    if not record.response or rng.random() < 0.4:
        return record
    end = rng.randint(1, len(record.response))
    return record._replace(stop=(record.response[max(0, end - rng.randint(1, 3)) : end],))


def _with_hash_ids(rng: Random) -> tuple[list[TraceRecord], int, int]:
    """Return records whose prompts are known by hash ids, the most tokens of one, and the block size."""
    prompts, outputs = rng.choice([600, 1600, 3000]), rng.choice([1, 30, 300])
    hash_block_size = rng.choice([None, None, 512, 64, 16])
    size = hash_block_size or 512
    records = []
    for number in range(rng.randint(1, 12)):
        length = rng.randint(1, prompts)
        blocks = range(-(-length // size))
        hash_ids = tuple(rng.choice([0, 0, 0, 1]) + 10 * block * rng.randint(0, 1) for block in blocks)
        lengths = {"input_length": length, "output_length": rng.randint(0, outputs)}
        fields = {**lengths, "hash_ids": hash_ids, "hash_block_size": hash_block_size}
        records.append(a_record(f"r{number}", **fields, **_limits(rng, outputs)))
    return records, prompts + outputs, rng.choice([size // 4, size // 2, 3 * size // 4, size, 2 * size])


def _with_text_or_lengths(rng: Random) -> tuple[list[TraceRecord], int, int]:
    """Return records whose prompts share beginnings and parts of answers; the rest as `_with_hash_ids`."""
    prompts, outputs = rng.choice([3, 8, 20, 60]), rng.choice([0, 1, 5, 20, 60])
    alphabet = rng.choice(["a", "ab", "abc"])
    beginnings = ["".join(rng.choices(alphabet, k=prompts)) for _ in range(rng.randint(1, 3))]
    answer = "".join(rng.choices(alphabet, k=outputs + 1))
    lengths_alone = rng.choice([0.0, 0.4, 1.0])
    records = []
    for number in range(rng.randint(1, rng.choice([8, 30]))):
        length, output = rng.randint(1, prompts), rng.randint(0, outputs)
        fields: dict[str, Any] = {"input_length": length, "output_length": output}
        if rng.random() >= lengths_alone:
            prompt = rng.choice(beginnings)[:length]
            if rng.random() < 0.3:
                prompt = (prompt[: rng.randint(0, length)] + answer)[:prompts]
            fields = {"prompt": prompt, "response": answer[rng.randint(0, 1) :][:output]}
        records.append(a_record(f"r{number}", **fields, **_limits(rng, outputs)))
    return records, prompts + outputs, rng.choice([1, 2, 3, 4])


def _limits(rng: Random, outputs: int) -> dict[str, Any]:
    """Return when a request arrives, its priority and its limit."""
    return {
        "arrival_step": rng.randint(0, rng.choice([0, 3, 10, 60])),
        "priority": rng.choice([None, 0, -1, 1]),
        "max_tokens": rng.choice([None, None, rng.randint(1, outputs + 1)]),
    }


def _settings(rng: Random, longest: int, block_size: int) -> Settings:
    """Return settings for requests of up to `longest` tokens."""
    needed = -(-longest // block_size)
    settings: Settings = {
        "engine": rng.choice(["simple", "vllm-v0", "vllm-v1", "vllm-v1", "vllm-v1"]),
        "max_num_seqs": rng.choice([1, 2, 3, 5, 10, 256]),
        "max_num_batched_tokens": rng.choice([rng.randint(1, 6), rng.randint(1, 3 * longest), 8192]),
        "max_model_len": rng.choice([None, None, rng.randint(1, longest + 2)]),
        "block_size": block_size,
        "num_gpu_blocks": rng.choice([None, rng.randint(max(1, needed // 2), 4 * needed + 3), needed + 2]),
        "watermark": rng.choice([0.0, 0.0, 0.01, 0.1, 0.3]),
    }
    if settings["engine"] == "vllm-v1":
        settings.update(
            enable_prefix_caching=rng.random() < 0.65,
            enable_chunked_prefill=rng.random() < 0.75,
            scheduling_policy=rng.choice(["fcfs", "fcfs", "priority"]),
            long_prefill_token_threshold=rng.choice([0, 0, 1, 2, 5, rng.randint(1, longest)]),
            scheduler_reserve_full_isl=rng.random() < 0.5,
        )
    return settings
