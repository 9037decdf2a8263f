"""The balancer beside the class that it follows, of an installed vLLM."""

from __future__ import annotations

import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from tracesim.cluster.vllm_balancer import VllmBalancer

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("seed", range(10))
def test_the_balancer_chooses_as_vllms(seed: int) -> None:
    """In 100 random histories each: requests arrive and finish, and snapshots come between them."""
    core_client = pytest.importorskip("vllm.v1.engine.core_client", exc_type=ImportError)
    choose = core_client.DPLBAsyncMPClient.get_core_engine_for_request
    draw = random.Random(seed)
    for _ in range(100):
        size = draw.randint(2, 6)
        engines = [bytes([at]) for at in range(size)]
        client: Any = SimpleNamespace(
            reqs_in_flight={},
            engine_inflight=Counter(),
            core_engines=engines,
            lb_engines=[[0, 0, 0.0] for _ in range(size)],
            client_count=1,
            eng_start_index=0,
        )
        balancer = VllmBalancer()
        balancer.snapshot = [[0, 0, 0.0] for _ in range(size)]
        expected, actual = [], []
        for number in range(60):
            if draw.random() < 0.2:
                loads = [[draw.randint(0, 5), draw.randint(0, 9), draw.random()] for _ in range(size)]
                client.lb_engines = [list(load) for load in loads]
                balancer.snapshot = [list(load) for load in loads]
            if client.reqs_in_flight and draw.random() < 0.5:
                finished = draw.choice(sorted(client.reqs_in_flight))
                client.engine_inflight[client.reqs_in_flight.pop(finished)] -= 1
            in_flight = [client.engine_inflight[engine] for engine in engines]
            actual.append(balancer.choose(in_flight))
            request = SimpleNamespace(request_id=f"r{number}", data_parallel_rank=None, pooling_params=None)
            expected.append(engines.index(choose(client, request)))
            assert balancer.snapshot == client.lb_engines

        assert expected == actual
