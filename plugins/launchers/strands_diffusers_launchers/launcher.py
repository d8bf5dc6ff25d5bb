"""The part of a launcher that Hydra sees, the same for processes and actors."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from strands_diffusers_launchers.config import LauncherConfig

log = logging.getLogger(__name__)


class WorkerLauncher(Launcher):
    """Runs a sweep's jobs on several workers; subclasses say where those live."""

    settings_class: ClassVar[type[LauncherConfig]]

    def __init__(self, **parameters: Any) -> None:
        # checked in setup: Hydra would wrap an error raised here into one of its own
        self._parameters = OmegaConf.to_container(OmegaConf.create(parameters), resolve=True)
        self._workers: Any = None

    def open(self, settings: Any, sweep: Any, jobs: int) -> tuple[Any, int]:
        """Return the backend of a sweep and how many workers it should have."""
        raise NotImplementedError

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives; refuse wrong settings (`ConfigError`)."""
        self._settings = self.settings_class(**self._parameters)  # type: ignore[arg-type]
        self._context, self._config = hydra_context, config
        # the command's live line; the task function itself is not used: it is bound to this process
        self._progress = getattr(task_function, "progress", None)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run the jobs; return Hydra's record of each, in order."""
        from strands_diffusers_launchers.messages import Job

        setup_globals()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        jobs = [Job(initial_job_idx + i, tuple(o)) for i, o in enumerate(job_overrides)]
        workers = self._workers or self._open(len(jobs))
        log.info("Launching %d jobs, %d at a time", len(jobs), workers.size)
        try:
            ended = workers.run(jobs, self._progress)
        except BaseException:
            self._close()
            raise
        if self._is_last():
            self._close()
        return [_job_return(job, end) for job, end in ended]

    def _open(self, jobs: int) -> Any:
        from strands_diffusers_launchers.messages import Sweep
        from strands_diffusers_launchers.work import payload
        from strands_diffusers_launchers.workers import Workers

        directory = Path(str(self._config.hydra.sweep.dir)).absolute()
        directory.mkdir(parents=True, exist_ok=True)
        sweep = Sweep(payload(self._context, self._config, directory, self._settings.kill_grace_s), directory)
        backend, size = self.open(self._settings, sweep, jobs)
        self._workers = Workers(backend, size, sweep, self._settings.kill_grace_s)
        self._finalizer = weakref.finalize(self, self._workers.close)  # also at the end of the process
        return self._workers

    def _close(self) -> None:
        self._finalizer()
        self._workers = None

    def _is_last(self) -> bool:
        """Whether no further batch of jobs will come: Hydra's own sweeper sends all at once unless configured otherwise."""
        sweeper = self._config.hydra.sweeper
        return str(sweeper._target_).endswith(("BasicSweeper", "CheckedSweeper")) and sweeper.max_batch_size is None


def _job_return(job: Any, ended: Any) -> JobReturn:
    from strands_diffusers.errors import SweepError

    done = ended.status != "failed"
    facts = {**ended.facts}
    for key in ("cfg", "hydra_cfg"):
        if facts.get(key) is not None:
            facts[key] = OmegaConf.create(facts[key])
    result = JobReturn(overrides=list(job.overrides), **facts)
    result.status = JobStatus.COMPLETED if done else JobStatus.FAILED
    result.return_value = ended.value if done else SweepError(ended.error)
    return result
