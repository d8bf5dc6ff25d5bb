"""Hydra's side of running: the task function of one job, the check of all jobs before the first load, the summary."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from strands_diffusers.config import compose
from strands_diffusers.config.explain import explain
from strands_diffusers.config.schema import RunConfig
from strands_diffusers.errors import RequestError, StrandsDiffusersError, one_line
from strands_diffusers.plugin.base import Tracker
from strands_diffusers.plugin.choices import prepare as prepare
from strands_diffusers.runner import job, manifest, resume
from strands_diffusers.runner.clock import Progress
from strands_diffusers.runner.progress import Failed, SweepProgress, limited

log = logging.getLogger(__name__)

Report = Callable[[job.JobResult], None]


class StopSweep(BaseException):
    """Ends a sweep at its first failure (`sweep.fail_fast`): Hydra's launchers let only such exceptions through."""


def task(
    node: DictConfig,
    report: Report | None = None,
    progress: Progress | None = None,
    sweep: SweepProgress | None = None,
) -> float | None:
    """Hydra's task function: run the composed job in Hydra's output folder and return `sweep.objective`, if any.

    A job that a resumed sweep has already is skipped; one that fails at run time is tried again `sweep.retries` times.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    overrides = list(hydra.overrides.task)
    multirun = hydra.mode is RunMode.MULTIRUN
    directory, cwd = Path(hydra.runtime.output_dir), Path(hydra.runtime.cwd)
    config: RunConfig | None = None
    began = False
    try:
        config = compose.to_run_config(node, overrides, cwd)
        checked = job.check(config, cwd=cwd)
        if config.resume:
            folder = resume.sweep_folder(config.resume, cwd)
            if done := resume.done_jobs(folder).get(checked.hash):
                if sweep:
                    sweep.finished("skipped")
                else:
                    log.info("already done: %s", done.directory)
                return objective(config.sweep.objective, done.manifest["metrics"])
            changed = manifest.read(directory) is not None  # else it is new, or failed, or was never begun
            if changed and (difference := resume.why_not(checked.identity, folder)):
                (sweep.say if sweep else log.info)(
                    f"job {directory.name} runs: it differs from the nearest finished one in {difference}"
                )
            directory = resume.place(directory, checked.hash)
            if sweep:
                sweep.begins(directory)
        group = _group_name(Path(hydra.sweep.dir)) if multirun else None
        began = True  # from here on a failure leaves its own record
        result = _with_retries(
            checked, directory, overrides, group, sweep.stage if sweep else progress, sweep.say if sweep else None
        )
    except Exception as error:
        if multirun:
            if not began:
                manifest.write_failure(directory, error, "check", overrides)
            _say_failed(sweep, hydra.job.num, overrides, error, directory)
            if config is not None and config.sweep.fail_fast:
                raise StopSweep(f"stopped at the first failure (sweep.fail_fast=true): job {hydra.job.num}") from error
        raise
    if sweep:
        sweep.finished("done")
    if report:
        report(result)
    return objective(config.sweep.objective, result.manifest["metrics"])


def _with_retries(
    checked: job.Job,
    directory: Path,
    overrides: Sequence[str],
    group: str | None,
    progress: Progress | None,
    say: Callable[[str], None] | None,
) -> job.JobResult:
    """Run a job, again after a failure as often as `sweep.retries` says; wrong requests are not tried again."""
    from strands_diffusers.pipelines import loader

    settings = checked.config.sweep
    for attempt in range(settings.retries + 1):
        try:
            step = limited(progress, settings.timeout_s)
            return job.run_job(checked, directory, overrides=overrides, group=group, progress=step, say=say)
        except RequestError:
            raise
        except Exception as error:
            loader.release_memory()
            if attempt == settings.retries:
                raise
            log.warning("attempt %d of %d failed: %s", attempt + 1, settings.retries + 1, one_line(error))
    raise AssertionError("unreachable")


def _say_failed(
    sweep: SweepProgress | None, number: object, overrides: Sequence[str], error: Exception, directory: Path
) -> None:
    """Report a failed job the moment it happens: job, overrides, stage, one line, where the record is."""
    text = f"{type(error).__name__}: {one_line(error)}"
    record = manifest.read_failure(directory) or {}
    stage = record["stage"] if str(record.get("error", "")).startswith(text[:200]) else "unknown"  # or left earlier
    line = f"job {number} failed at {stage}: {' '.join(overrides)}: {one_line(error)}  [{directory / manifest.FAILURE}]"
    if sweep:
        sweep.finished("failed", line, Failed(directory.name, list(overrides), stage, text))
    else:
        log.error(line)


def _group_name(sweep_dir: Path) -> str:
    """A sweep's name for trackers: its dated folder."""
    parent = sweep_dir.parent.name
    return f"{parent}_{sweep_dir.name}" if parent[:2] == "20" else sweep_dir.name


def objective(name: str | None, metrics: dict[str, dict[str, float]]) -> float | None:
    """The value of `metrics.<metric>.<value>`; `StrandsDiffusersError` listing what there is where it was not measured."""
    if name is None:
        return None
    _, metric, value = name.split(".")
    try:
        return metrics[metric][value]
    except KeyError:
        there = [f"metrics.{m}.{v}" for m, values in metrics.items() for v in values]
        raise StrandsDiffusersError(
            f"sweep.objective={name} was not measured; there is {', '.join(there) or 'nothing'}."
        ) from None


def validate(overrides: Sequence[str]) -> tuple[int, Tracker] | None:
    """Compose and check every job of a sweep, before Hydra makes a folder or a weight is loaded.

    Returns: the number of jobs, and the tracker of the first; None where another sweeper than Hydra's own chooses the
        jobs as it goes.

    Raises: the first `RequestError`, naming the job's overrides.
    """
    from hydra import compose as hydra_compose
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from strands_diffusers import evaluation

    with compose.application():
        loader = GlobalHydra.instance().config_loader()
        try:
            parser = OverridesParser.create(config_loader=loader)
            parsed = parser.parse_overrides(list(overrides))
            fixed = [o.input_line for o in parsed if not o.is_sweep_override()]
            master = hydra_compose(compose.CONFIG_NAME, [str(o) for o in fixed], return_hydra_config=True)
            if master.hydra.runtime.choices["hydra/sweeper"] != "basic":
                return None
            swept = [f"{k}={v}" for k, v in (master.hydra.sweeper.get("params") or {}).items()]
            parsed = parser.parse_overrides([*swept, *overrides])
            jobs = [combination for batch in BasicSweeper.split_arguments(parsed, None) for combination in batch]
        except (HydraException, OmegaConfBaseException) as error:
            raise explain(error, overrides) from error
    configs, trackers = [], []
    for number, combination in enumerate(jobs):
        mine = [o for o in combination if not o.startswith("hydra")]
        try:
            configs.append(compose.compose(mine))
            trackers.append(job.check(configs[-1]).tracker)
        except RequestError as error:
            raise type(error)(f"job {number} of {len(jobs)} ({' '.join(mine)}): {error}") from error
    evaluation.check_sweep(configs)
    return len(jobs), trackers[0]


def discard_if_empty(directory: Path) -> None:
    """Remove a folder that Hydra made for a refused request: only its own `.hydra` and an empty log are in it."""
    import shutil

    names = {p.name for p in directory.iterdir()} if directory.is_dir() else None
    if names is None or not names <= {".hydra", "strands_diffusers.log"}:
        return
    shutil.rmtree(directory)
    for parent in directory.parents[:2]:
        if parent.name in ("outputs", "multirun") or parent.parent.name in ("outputs", "multirun"):
            try:
                parent.rmdir()
            except OSError:
                return


class Told(JobReturn):
    """A failed job of a sweep, told when it happened: Hydra would print the overrides of the first one once more."""

    @property
    def return_value(self) -> Any:
        """What the job returned; raises what it raised."""
        if self.status is JobStatus.FAILED:
            raise self._return_value
        return self._return_value

    @return_value.setter
    def return_value(self, value: Any) -> None:
        self._return_value = value


class Folders(Callback):
    """Hydra callback that notes where this command writes: Hydra forgets it once the command is over."""

    latest: ClassVar[Path | None] = None

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the folder of a single run."""
        Folders.latest = Path(config.hydra.run.dir).absolute()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the folder of a sweep."""
        Folders.latest = Path(config.hydra.sweep.dir).absolute()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Keep Hydra from telling a sweep's failure a second time."""
        job_return.__class__ = Told


IN_WORKER = "STRANDS_DIFFUSERS_WORKER"
"""Set in launchers' worker processes, where the terminal belongs to the parent."""


def in_worker() -> bool:
    """Whether this process is a launcher's worker."""
    return bool(os.environ.get(IN_WORKER))
