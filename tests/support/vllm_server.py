"""A server of the installed vLLM, and a trace for it to answer from."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson


class Server:
    """The installed vLLM's own server, as a process, in a session of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        """Serve the model in `folder`, which gets the output of the server, too."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            self._port = unused.getsockname()[1]
        self._output = (folder / "server.txt").open("wb")
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", f"--model={folder}"]
        address = ["--served-model-name=sim", "--host=127.0.0.1", f"--port={self._port}"]
        self.process = subprocess.Popen(
            [*command, *address, *options],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Server:
        while self.process.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=5).close()
                return self
            time.sleep(0.2)
        raise AssertionError(Path(self._output.name).read_text(errors="replace")[-5000:])

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(60)
        self._output.close()

    def answers(self, prompts: Sequence[str], clients: int, **fields: Any) -> list[str]:
        """Return the answers to the prompts, which so many clients send one after another."""

        def answer(prompt: str) -> str:
            body = orjson.dumps({"model": "sim", "prompt": prompt, "max_tokens": 300, **fields})
            url, headers = (
                f"http://127.0.0.1:{self._port}/v1/completions",
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=120) as response:
                text: str = json.load(response)["choices"][0]["text"]
            return text

        with ThreadPoolExecutor(clients) as pool:
            return list(pool.map(answer, prompts))


def a_trace_of_all_endings(folder: Path, requests: int) -> Path:
    """Requests of which some share prefixes, and some are cut: by a stop string, or by `max_tokens`."""
    draw = random.Random(7)
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]
    starts = [" ".join(draw.choices(words, k=60)) for _ in range(3)]
    limits: list[dict[str, Any]] = [{}, {}, {"stop": ["theta", "a b"]}, {"max_tokens": 9}]
    records = []
    for number in range(requests):
        question = " ".join(draw.choices(words, k=draw.randint(1, 40)))
        record = {
            "prompt": f"{draw.choice(starts)} {number} {question}",
            "response": " ".join(draw.choices([*words, "é🤷🏽 "], k=draw.randint(0, 90))),
            **draw.choice(limits),
        }
        records.append(orjson.dumps(record))
    path = folder / "trace.jsonl"
    path.write_bytes(b"\n".join(records))
    return path
