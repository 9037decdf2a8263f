"""Which replica each router picks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from tracesim.cluster.replica import Load
from tracesim.cluster.routers import ROUTERS, parse_router
from tracesim.cluster.vllm_balancer import Coordinator, VllmBalancer
from tracesim.errors import ConfigError
from tracesim.requests.request import Request


@dataclass
class FakeReplica:
    """What a router may ask of a replica."""

    index: int
    num_requests: int = 0
    num_blocks_in_use: int = 0
    cached_tokens: int = 0
    block_size: int = 10
    not_prefilled: Sequence[Any] = field(default_factory=list)

    @property
    def engine(self) -> Any:
        return self

    @property
    def config(self) -> Any:
        return self

    def num_cached_tokens(self, request: Request) -> int:
        return self.cached_tokens


def a_request(number: int = 0, session: str | None = None) -> Request:
    return Request(f"r{number}", 100, 5, session_id=session)


def chosen(router: str, replicas: Sequence[Any], sessions: Sequence[str | None] = (None,) * 6) -> list[int]:
    """Return the replicas that a router picks for one request after another."""
    choose = parse_router(router).choose
    return [choose(a_request(number, session), replicas) for number, session in enumerate(sessions)]


def test_round_robin() -> None:
    assert chosen("round-robin", [FakeReplica(at) for at in range(3)]) == [0, 1, 2, 0, 1, 2]


def test_random_depends_on_the_seed_alone() -> None:
    replicas: Sequence[Any] = [FakeReplica(at) for at in range(3)]
    one, same, other = (parse_router("random", seed) for seed in (1, 1, 2))
    picks = [[each.choose(a_request(), replicas) for _ in range(200)] for each in (one, same, other)]

    assert picks[0] == picks[1] != picks[2]
    assert all(40 < picks[0].count(at) < 95 for at in range(3))


def test_least_requests_takes_the_first_of_equals() -> None:
    replicas = [FakeReplica(at, num_requests=number) for at, number in enumerate([3, 1, 1])]

    assert chosen("least-requests", replicas) == [1] * 6


def test_a_session_stays_on_its_replica() -> None:
    replicas = [FakeReplica(0), FakeReplica(1)]
    router = parse_router("session")
    picks = []
    for number, session in enumerate(["s", None, "t", "s", "t", "u"]):
        picks.append(router.choose(a_request(number, session), replicas))  # type: ignore[arg-type]
        replicas[picks[-1]].num_requests += 1

    assert picks == [0, 1, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("router", "in_use", "expected"),
    [
        ("prefix", 5, 1),  # 10 + 10 blocks, against 4 + 4 + 5
        ("prefix", 13, 0),  # against 4 + 4 + 13
        ("prefix:2", 13, 1),  # 2 * 10 + 10, against 2 * 4 + 4 + 13
        ("prefix:0", 5, 1),
        ("prefix:0", 7, 0),
    ],
)
def test_prefix_weighs_what_is_to_prefill_against_the_blocks_in_use(
    router: str, in_use: int, expected: int
) -> None:
    """A prompt of 10 blocks, of which replica 1 has 6 in its cache."""
    replicas = [FakeReplica(0), FakeReplica(1, cached_tokens=60, num_blocks_in_use=in_use)]

    assert chosen(router, replicas, [None]) == [expected]


def test_prefix_counts_what_other_requests_have_to_prefill() -> None:
    """The second prompt of 10 blocks would wait for the first one on replica 0."""
    replicas: Sequence[Any] = [FakeReplica(0), FakeReplica(1, num_requests=1)]
    router = parse_router("prefix")
    picks = []
    for number in range(3):
        picks.append(router.choose(a_request(number), replicas))
        state = Request(f"r{number}", 100, 5)
        waiting = FakeWaiting(state.id, 100)
        replicas[picks[-1]].not_prefilled.append(waiting)

    assert picks == [0, 1, 0]


@dataclass
class FakeWaiting:
    id: str
    num_tokens: int
    num_computed_tokens: int = 0


def test_equal_scores_rotate() -> None:
    balancer = VllmBalancer()
    balancer.snapshot = [[0, 0, 0.0] for _ in range(3)]

    assert [balancer.choose([0, 0, 0]) for _ in range(6)] == [0, 1, 2, 0, 1, 2]


def test_waiting_requests_cost_more_on_a_full_cache() -> None:
    """Two wait on an engine whose cache is full: 2 + 2 * 3, more than the 7 that run on the other one."""
    balancer = VllmBalancer()
    balancer.snapshot = [[2, 0, 1.0], [0, 7, 1.0]]

    assert balancer.choose([0, 0]) == 1


def test_requests_in_flight_are_the_least_that_counts() -> None:
    balancer = VllmBalancer()
    balancer.snapshot = [[0, 0, 0.0], [0, 1, 0.0]]

    assert balancer.choose([2, 1]) == 1


def a_load(number: int) -> Load:
    return Load(0, number, 0, 0.0)


def test_snapshots_are_an_interval_apart() -> None:
    coordinator = Coordinator(2, interval=100)

    assert coordinator.publish_before(50) is None
    coordinator.note(50, 0, a_load(1))
    assert coordinator.publish_before(50) is None
    assert coordinator.publish_before(51) == [[1, 0, 0], [0, 0, 0]]
    coordinator.note(60, 1, a_load(2))
    coordinator.note(70, 0, a_load(3))
    assert coordinator.publish_before(150) is None
    assert coordinator.publish_before(151) == [[3, 0, 0], [2, 0, 0]]
    assert coordinator.publish_before(1000) is None


def test_a_snapshot_is_repeated_when_nothing_changes() -> None:
    coordinator = Coordinator(1, interval=100)
    coordinator.note(0, 0, a_load(1))
    assert coordinator.publish_before(10) == [[1, 0, 0]]

    assert coordinator.publish_before(5000) is None
    assert coordinator.publish_before(5001) == [[1, 0, 0]]
    assert coordinator.publish_before(5002) is None


@pytest.mark.parametrize("name", sorted(ROUTERS))
def test_every_router_is_known_by_its_name(name: str) -> None:
    assert callable(parse_router(name).choose)


class LastReplica:
    """A router of somebody's own."""

    def choose(self, request: Request, replicas: Sequence[Any]) -> int:
        return len(replicas) - 1


class NoRouter:
    """A class that is no router."""


def test_a_custom_router_is_named_by_its_module_and_class(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(LastReplica=LastReplica, NoRouter=NoRouter)
    monkeypatch.setitem(sys.modules, "my_routers", module)

    assert chosen("my_routers:LastReplica", [FakeReplica(0), FakeReplica(1)]) == [1] * 6
    with pytest.raises(ConfigError, match=r"has no method choose\(request, replicas\)"):
        parse_router("my_routers:NoRouter")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("fastest", "must be round-robin, random, least-requests, vllm, prefix, session, prefix:WEIGHT or"),
        ("prefix:heavy", "the weight must be a number from 0 to 1,000,000,000"),
        ("prefix:-1", "the weight must be a number"),
        ("no_such_module:Router", "is no_such_module:Router, which cannot be used: No module named"),
    ],
)
def test_an_unknown_router_is_an_error(value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_router(value)
