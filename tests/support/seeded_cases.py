"""Cases drawn from a seed: traces and settings that are often short of blocks, budget or seats at once."""

from __future__ import annotations

from random import Random
from typing import Any

from factories import a_record
from tracesim import TraceRecord

Settings = dict[str, Any]


def case_of(seed: int) -> tuple[list[TraceRecord], Settings]:
    """The records and the engine's settings that belong to `seed`."""
    rng = Random(seed)
    if rng.random() < 0.2:
        records, longest, block_size = _with_hash_ids(rng)
    else:
        records, longest, block_size = _with_text_or_lengths(rng)
    return records, _settings(rng, longest, block_size)


def _with_hash_ids(rng: Random) -> tuple[list[TraceRecord], int, int]:
    prompts, outputs = rng.choice([600, 1600, 3000]), rng.choice([1, 30, 300])
    records = []
    for number in range(rng.randint(1, 12)):
        length = rng.randint(1, prompts)
        chunks = range(-(-length // 512))
        hash_ids = tuple(rng.choice([0, 0, 0, 1]) + 10 * chunk * rng.randint(0, 1) for chunk in chunks)
        fields = {"input_length": length, "output_length": rng.randint(0, outputs), "hash_ids": hash_ids}
        records.append(a_record(f"r{number}", **fields, **_asked(rng, outputs)))
    return records, prompts + outputs, rng.choice([128, 256, 384, 512, 1024])


def _with_text_or_lengths(rng: Random) -> tuple[list[TraceRecord], int, int]:
    """Prompts that share beginnings, and go on with what others answered."""
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
        records.append(a_record(f"r{number}", **fields, **_asked(rng, outputs)))
    return records, prompts + outputs, rng.choice([1, 2, 3, 4])


def _asked(rng: Random, outputs: int) -> dict[str, Any]:
    return {
        "arrival_step": rng.randint(0, rng.choice([0, 3, 10, 60])),
        "priority": rng.choice([None, 0, -1, 1]),
        "max_tokens": rng.choice([None, None, rng.randint(1, outputs + 1)]),
    }


def _settings(rng: Random, longest: int, block_size: int) -> Settings:
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
