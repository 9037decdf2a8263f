"""Where points are replayed on a cluster: by Ray, which moves the trace and repeats what it loses."""

from __future__ import annotations

from typing import Any, Final

from tracesim import __version__
from tracesim.errors import ConfigError, needs_package
from tracesim.sweep.replay_point import Outcome, Replay, replay_point
from tracesim.sweep.shared_trace import SharedTrace
from tracesim.sweep.workers import MAX_LOSSES, WorkersLostError

LOCAL: Final = "local"
"""The address that stands for a cluster of processes on this machine, started for the sweep."""


class RayWorkers:
    """Replays points as tasks of a Ray cluster, which must have this version of tracesim on every node.

    The trace is put into the object store once; each worker process takes it from there when it replays its
    first point. Raises ConfigError if Ray is not installed, or if there is no cluster at the address.
    """

    def __init__(self, trace: SharedTrace, address: str = LOCAL, num_workers: int | None = None) -> None:
        """Join the cluster at an address, or at the one that the environment names ("auto"), or start one.

        `num_workers` is the number of replays at a time, by default one for each core of the cluster.
        """
        try:
            import ray
        except ImportError as error:
            raise ConfigError(needs_package("a sweep on a cluster", "ray"), setting="ray") from error
        self._ray: Any = ray
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
        try:
            if address == LOCAL:
                ray.init(num_cpus=num_workers, **quiet)
            else:
                ray.init(address=address, log_to_driver=False, logging_level="error")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(f"is {address!r}, which cannot be joined: {error}", setting="ray") from None
        self.num_workers = num_workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._trace = [ray.put(trace)]  # in a list, so that it is not read anew for every task
        self._task: Any = ray.remote(max_retries=MAX_LOSSES)(_replay)
        self._replays: dict[Any, tuple[int, Replay]] = {}

    def submit(self, number: int, replay: Replay) -> None:
        """Take on a replay."""
        self._replays[self._task.remote(self._trace, replay, __version__)] = number, replay

    def next_outcome(self) -> tuple[int, Outcome]:
        """Wait for the next outcome of any replay; Ray repeats those whose process or machine was lost."""
        (done, *_), _ = self._ray.wait(list(self._replays), num_returns=1)
        number, replay = self._replays.pop(done)
        lost = (
            self._ray.exceptions.WorkerCrashedError,
            self._ray.exceptions.OutOfMemoryError,
            self._ray.exceptions.NodeDiedError,
        )
        try:
            outcome: Outcome = self._ray.get(done)
        except lost:
            raise WorkersLostError(replay) from None
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        return number, outcome

    def close(self) -> None:
        """Leave the cluster, or end it if it was started for the sweep."""
        self._ray.shutdown()


_shared: dict[str, SharedTrace] = {}
"""The trace that this process has taken from the object store, by its reference."""


def _replay(trace: list[Any], replay: Replay, version: str) -> Outcome:
    """Replay a point in a worker process of Ray. Raises ConfigError if it has another version of tracesim."""
    import ray

    if version != __version__:
        raise ConfigError(
            f"joins a cluster that has tracesim {__version__}, and this is {version}; install one version "
            "everywhere",
            setting="ray",
        )
    reference = trace[0].hex()
    if reference not in _shared:
        _shared.clear()
        _shared[reference] = ray.get(trace[0])
    return replay_point(_shared[reference], replay)
