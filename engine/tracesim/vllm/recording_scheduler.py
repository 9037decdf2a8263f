"""vLLM's own schedulers, extended to record what a real model does.

    vllm serve MODEL --scheduler-cls tracesim.vllm.AsyncRecordingScheduler \\
        --additional-config '{"sim_record": "run.jsonl"}'

`--sim-record` chooses between the two classes by whether vLLM schedules asynchronously.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

from vllm.logger import init_logger
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from tracesim.errors import ConfigError
from tracesim.vllm.logged_scheduler import LoggedScheduler, SchedulerLog
from tracesim.vllm.record_settings import RecordSettings, refuse_what_has_no_steps
from tracesim.vllm.recorded_profile import engine_profile
from tracesim.vllm.recorder import BackgroundLog, LineFile, PromptHashes, Recorder
from tracesim.vllm.served_tokenizer import load_served_tokenizer

_logger = init_logger("vllm.tracesim")  # vLLM shows only what is logged below its own name


class Recording(LoggedScheduler):
    """Mixin for a Scheduler class of vLLM that records to the files that `additional_config` names."""

    def _open_logs(self) -> list[SchedulerLog]:
        """Open the files of the recording.

        Raises ConfigError for settings that do not fit, and OSError for a file that cannot be written or
        exists.
        """
        config = self.vllm_config
        settings = RecordSettings.from_additional_config(config.additional_config)
        if settings is None:
            raise ConfigError("sim_record is missing; name the file to record to, with --sim-record FILE")
        refuse_what_has_no_steps(config)
        needs_tokenizer = settings.content == "text" and not config.model_config.skip_tokenizer_init
        recorder = Recorder(
            LineFile(settings.trace),
            LineFile(settings.steps),
            content=settings.content,
            arrivals=settings.arrivals,
            tokenizer=load_served_tokenizer(config.model_config) if needs_tokenizer else None,
            hashes=PromptHashes(self.cache_config.block_size),
            prefix_caching=bool(self.cache_config.enable_prefix_caching),
            async_scheduling=bool(self.scheduler_config.async_scheduling),
        )
        is_own_process = multiprocessing.parent_process() is not None
        with Path(settings.profile).open("xb") as file:
            file.write(engine_profile(config, self.cache_config.num_gpu_blocks, own_process=is_own_process))
        _logger.info("recording to %s, %s and %s", settings.trace, settings.steps, settings.profile)
        log = BackgroundLog(recorder, lambda problem: _logger.error("sim_record: %s", problem))
        return [*super()._open_logs(), log]


class RecordingScheduler(Recording, Scheduler):  # type: ignore[misc]
    """vLLM's scheduler, which records."""


class AsyncRecordingScheduler(Recording, AsyncScheduler):  # type: ignore[misc]
    """vLLM's scheduler for asynchronous scheduling, which records."""


def recording_scheduler(base: type[Any]) -> type[Any]:
    """Return a subclass of `base`, a Scheduler class of vLLM, that records."""
    return type("RecordingScheduler", (Recording, base), {"__module__": __name__})
