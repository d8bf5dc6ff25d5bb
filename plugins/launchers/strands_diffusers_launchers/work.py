"""Inside a worker: compose a job as Hydra's own launcher does, run it, and report how it ended.

Hydra's task function stays in the parent: it is a closure over the terminal. Workers call a `runner.sweep.Sweep` with a
progress of their own, and the parent tells what they send. Nothing of Hydra's own is pickled either (configs and
singletons hold local classes and closures): a worker registers the same choices again and composes with the same
search path and overrides.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from strands_diffusers.errors import one_line
from strands_diffusers.runner import sweep
from strands_diffusers.runner.progress import Row, SweepProgress
from strands_diffusers.runner.run import write_failure
from strands_diffusers_launchers.messages import Ended, Job, Line, Message, Moved, Stage, Started

Say = Callable[[Message], None]


@dataclass(frozen=True)
class Recipe:
    """How to compose a job of this sweep, as plain data."""

    config_name: str
    search_path: list[tuple[str, str]]
    overrides: list[str]
    """Hydra's own, given for the whole sweep."""
    resolved: dict[str, dict[Any, Any]]
    """What cached resolvers gave the sweep's process (`${now:}`): workers must get the same."""
    sweep_dir: str
    grace_s: float
    cwd: str
    version_base: str | None


def payload(context: HydraContext, config: DictConfig, directory: Path, grace_s: float) -> bytes:
    """What a `JobRunner` needs, in bytes. `config` is the sweep's, composed with its hydra node."""
    from hydra import version

    plain = (str, int, float, bool, type(None))
    cache = OmegaConf.get_cache(config)
    recipe = Recipe(
        config_name=config.hydra.job.config_name,
        search_path=[(e.provider, e.path) for e in context.config_loader.get_search_path().get_path()],
        overrides=list(config.hydra.overrides.hydra),
        resolved={name: {k: v for k, v in found.items() if isinstance(v, plain)} for name, found in cache.items()},
        sweep_dir=str(directory),
        grace_s=grace_s,
        cwd=str(Path.cwd()),
        version_base=None if (base := version.getbase()) is None else str(base),
    )
    return pickle.dumps((sys.path, pickle.dumps(recipe)))  # the inner part is read once the path is set


class JobRunner:
    """Where a worker does its jobs, one after the other. The loaded model stays warm in `pipelines.loader`."""

    def __init__(self, content: bytes) -> None:
        from hydra import version
        from hydra._internal.config_loader_impl import ConfigLoaderImpl
        from hydra._internal.utils import create_config_search_path

        path, inner = pickle.loads(content)
        sys.path += [p for p in path if p not in sys.path]
        self._recipe: Recipe = pickle.loads(inner)
        if Path(self._recipe.cwd).is_dir():
            os.chdir(self._recipe.cwd)
        version.setbase(self._recipe.version_base)
        setup_globals()
        sweep.prepare()
        places = create_config_search_path(None)
        places.get_path().clear()
        for provider, place in self._recipe.search_path:
            places.append(provider, place)
        self._loader = ConfigLoaderImpl(places)
        self._context: HydraContext | None = None
        self._sweep = sweep.Sweep()

    def do(self, job: Job, say: Say) -> Ended:
        """Compose one job and run it to its end, whatever it raises."""
        try:
            config = self._compose(job)
        except (HydraException, OmegaConfBaseException) as error:
            return _failed(job, error)
        with contextlib.suppress(OSError):  # the log's disk is full
            sys.stderr.write(f"-- job {job.number}: {' '.join(job.overrides)}\n")
        say(started := _started(config))
        assert self._context is not None
        self._sweep.progress = forwarder = _Forwarder(
            say, None if started.timeout_s is None else started.timeout_s + 0.9 * self._recipe.grace_s
        )
        try:
            result = run_job(
                hydra_context=self._context,
                task_function=self._sweep,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        except OSError as error:  # Hydra could not write into the job's folder
            folder = Path(started.directory)
            write_failure(folder, error, "start", job.overrides)
            return _failed(job, error, folder=folder)
        finally:
            faulthandler.cancel_dump_traceback_later()
        if result.status is JobStatus.COMPLETED:
            return Ended(forwarder.status, value=result.return_value, name=forwarder.name, facts=_facts(result))
        failed = _failed(job, result._return_value, forwarder.line)
        return replace(failed, failed=forwarder.failure or failed.failed, facts=_facts(result))

    def _compose(self, job: Job) -> DictConfig:
        recipe = self._recipe
        overrides = [*recipe.overrides, *job.overrides]
        config = self._loader.load_configuration(recipe.config_name, overrides, run_mode=RunMode.RUN)
        OmegaConf.set_cache(config, {name: dict(found) for name, found in recipe.resolved.items()})
        with open_dict(config):
            config.hydra.job.id = job.number
            config.hydra.job.num = job.number
            config.hydra.sweep.dir = recipe.sweep_dir
            config.hydra.runtime.cwd = recipe.cwd
        HydraConfig.instance().set_config(config)  # a job's folder may be named by `${hydra:...}`
        self._context = self._context or HydraContext(self._loader, Callbacks(config))
        return config


def _started(config: DictConfig) -> Started:
    directory = Path(config.hydra.sweep.dir, str(config.hydra.sweep.subdir))
    return Started(str(directory), time.time(), config.sweep.retries, config.sweep.timeout_s, config.sweep.fail_fast)


def _failed(job: Job, error: Exception, line: str | None = None, *, folder: Path | None = None) -> Ended:
    """A job that failed before the runner had it, unless `line` is what the runner says of it."""
    text, where = f"{type(error).__name__}: {one_line(error)}", f"  [{folder}]" if folder else ""
    line = line or f"job {job.number} failed at start: {' '.join(job.overrides)}: {one_line(error)}{where}"
    name = folder.name if folder else str(job.number)
    return Ended(
        "failed", error=f"job {job.number}: {text}", line=line, failed=Row(name, "failed", job.overrides, text, "start")
    )


class _Forwarder(SweepProgress):
    """The progress of a sweep as a worker sees it: each word goes to the parent."""

    def __init__(self, say: Say, limit_s: float | None) -> None:
        super().__init__(total=0)
        self._send = say
        self._limit_s = limit_s
        self._loads: bool | None = None
        self.status = "done"
        self.line: str | None = None
        self.failure: Row | None = None
        self.name = ""

    def begins(self, directory: Path) -> None:
        self._send(Moved(str(directory)))

    def say(self, line: str) -> None:
        self._send(Line(line))

    def stage(self, what: str, done: int, total: int) -> None:
        stage = Stage(what, done, total)
        if self._limit_s is not None and stage.loads is not self._loads:
            self._loads = stage.loads
            if stage.loads:
                faulthandler.cancel_dump_traceback_later()
            else:  # just before the parent takes this process for hung, write where it hangs into its log
                faulthandler.dump_traceback_later(self._limit_s, file=2)
        self._send(stage)

    def ended(self, row: Row, line: str | None = None) -> None:
        self.status, self.line, self.name = row.status, line, row.name
        self.failure = row if row.status == "failed" else None


def _facts(result: JobReturn) -> dict[str, Any]:
    """The rest of Hydra's `JobReturn`. Structured configs do not pickle: Hydra's scan loads some classes twice."""

    def plain(node: DictConfig | None) -> Any:
        return None if node is None else OmegaConf.to_container(node, resolve=False)

    return {
        "cfg": plain(result.cfg),
        "hydra_cfg": plain(result.hydra_cfg),
        "working_dir": result.working_dir,
        "task_name": result.task_name,
    }
