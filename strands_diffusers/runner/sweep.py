"""Many jobs: all composed and checked before the first one runs, then one after the other with the model warm.

`hydra_plugins.strands_diffusers_core` holds what Hydra sees of this. Other launchers and sweepers call the `Sweep` object as
Hydra's task function, which composes and checks its job where it runs.
"""

from __future__ import annotations

import functools
import itertools
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from strands_diffusers import records
from strands_diffusers.config import compose
from strands_diffusers.config.explain import explain
from strands_diffusers.config.schema import RunConfig
from strands_diffusers.errors import ConfigError, RequestError, StrandsDiffusersError, SweepError, one_line
from strands_diffusers.plugin.base import Tracker
from strands_diffusers.plugin.choices import prepare as prepare
from strands_diffusers.records import Record
from strands_diffusers.runner import folders, resume
from strands_diffusers.runner.control import Control
from strands_diffusers.runner.job import Checker, Job
from strands_diffusers.runner.progress import Row, SweepProgress, row_of
from strands_diffusers.runner.run import Outcome, write_failure
from strands_diffusers.runner.run import run_job as run_checked
from strands_diffusers.runner.tracking import group_name

log = logging.getLogger(__name__)

MAX_JOBS = 100_000
"""A sweep of more jobs is a mistake such as `seed=range(0,100000000)`."""

IN_WORKER = "STRANDS_DIFFUSERS_WORKER"
"""Set in launchers' worker processes, where the terminal belongs to the parent."""


@dataclass(frozen=True)
class CheckedJob:
    """One job of a sweep that is ready to run."""

    number: int
    overrides: tuple[str, ...]
    job: Job


class Sweep:
    """One command's sweep: what its jobs share, and how each of them ended. Hydra's task function of other launchers."""

    def __init__(self, progress: SweepProgress | None = None) -> None:
        self.progress = progress or SweepProgress()
        self.directory: Path | None = None
        self.tracker: Tracker | None = None
        self.check = Checker()
        self._before: dict[str, Record] | None = None
        self._mine: dict[str, Record] = {}

    def __call__(self, node: DictConfig) -> float | None:
        """Compose, check and run one job in Hydra's output folder; return `sweep.objective`, if any. Raises what failed."""
        hydra = HydraConfig.get()
        overrides = tuple(hydra.overrides.task)
        self.directory = Path(hydra.sweep.dir).absolute() if hydra.mode is RunMode.MULTIRUN else None
        directory = Path(hydra.runtime.output_dir)
        try:
            config = compose.to_run_config(node, overrides, Path(hydra.runtime.cwd))
            job = self.check(config)
        except Exception as error:
            self.failed(directory, overrides, error)
            raise
        self.tracker = self.tracker or job.tracker
        return objective(job.config, self.run(job, self.place(job, directory), overrides))

    def run(self, job: Job, directory: Path, overrides: tuple[str, ...]) -> Record:
        """Run one checked job, unless its rollouts are there. Raises what failed, after it is recorded and shown."""
        control = Control(self.progress.stage)
        record = self._known(job)
        try:
            if resume.is_generated(job, record):
                assert record is not None
                record = self._complete(job, record)
                name = directory.name if job.hash in self._mine else record.name
                self._mine[job.hash] = record
                same_as = record.name if record.name != name else None
                self.progress.ended(Row(name, "done" if same_as else "skipped", overrides, same_as=same_as))
                return record
            self.progress.begins(directory)
            group = None if self.directory is None else group_name(self.directory)
            outcome = attempt(job, directory, overrides, group, control=control, say=self.progress.say)
        except Exception as error:
            self.failed(directory, overrides, error, control.stage)
            raise
        self._mine[job.hash] = outcome.record
        lines = [f"job {directory.name}: problem: {problem}" for problem in outcome.record.problems]
        self.progress.ended(row_of(outcome.record), "\n".join(lines) or None)
        return outcome.record

    def _known(self, job: Job) -> Record | None:
        """The record of the same rollouts: of this command, or in the folder that the sweep goes on in."""
        if job.hash in self._mine:
            return self._mine[job.hash]
        if job.config.resume is None:
            return None
        if self._before is None:
            self._before = resume.by_hash(resume.sweep_folder(job.config.resume, Path.cwd()))
        return self._before.get(job.hash)

    def _complete(self, job: Job, record: Record) -> Record:
        """Measure and draw what a generated job is now asked for and does not have."""
        wanted = {group: resume.missing(record, group, job.tree[group]) for group in ("metric", "visualizer")}
        if not any(wanted.values()):
            return record
        from strands_diffusers.runner import again

        return again.complete(record, wanted, job.config.hook_timeout_s)

    def place(self, job: Job, directory: Path) -> Path:
        """Where a job writes: the folder of the same rollouts, else its own, else the next number that is free."""
        record = self._known(job)
        if record is not None and not resume.is_generated(job, record):
            return record.directory
        there = records.read(directory) if directory.name.isdecimal() else None
        if there is not None and there.status == "damaged":
            self.progress.say(f"{there.error} It is left as it is.")
        if record is None and there is not None and (there.status != "failed" or there.hash not in ("", job.hash)):
            return folders.claim_next(directory.parent)
        return directory

    def say_what_is_new(self, checked: Sequence[CheckedJob]) -> None:
        """One line where jobs of a resumed sweep are not those that are finished under their numbers: how many, and an example."""
        new = [each for each in checked if self._known(each.job) is None]
        before = self._before or {}
        taken = {record.name for record in before.values() if record.done}
        if new := [each for each in new if str(each.number) in taken]:
            self.progress.say(
                f"{len(new)} of {len(checked)} jobs are not finished there, and run: job {new[0].number} differs from the "
                f"nearest finished one in {resume.why_not(new[0].job.identity, before)}"
            )

    def failed(
        self, directory: Path, overrides: Sequence[str], error: Exception, stage: str = "check", name: str = ""
    ) -> None:
        """Record a failed job the moment it fails, and show it: job, stage, overrides, one line, where the record is."""
        text = f"{type(error).__name__}: {one_line(error)}"
        record = records.read(directory)
        if record is None or not (record.error.startswith(text[:200]) or record.done):
            record = write_failure(directory, text, stage, overrides)
        stage = stage if record.done else record.stage
        line = f"job {name or directory.name} failed at {stage}: {' '.join(overrides)}: {one_line(error)}"
        self.progress.ended(
            Row(name or directory.name, "failed", tuple(overrides), text, stage),
            line if record.done else f"{line}  [{directory / records.FAILURE}]",
        )


def attempt(
    job: Job,
    directory: Path,
    overrides: tuple[str, ...] = (),
    group: str | None = None,
    *,
    control: Control | None = None,
    say: Callable[[str], None] | None = None,
) -> Outcome:
    """Run one job, again after a failure as often as `sweep.retries` says; wrong requests are not tried again."""
    from strands_diffusers.pipelines import devices

    retries = job.config.sweep.retries
    control = control or Control()
    for number in itertools.count(1):
        try:
            return run_checked(job, directory, overrides=overrides, group=group, control=control, say=say)
        except RequestError:
            raise
        except Exception as error:
            devices.release_memory(error)
            if number > retries:
                raise
            log.warning("attempt %d of %d failed: %s", number, retries + 1, one_line(error))
    raise AssertionError("unreachable")


def sweep(sweeper: Any, arguments: Sequence[str]) -> list[Row]:
    """What `hydra/sweeper=checked` does: compose and check every combination, then launch them all."""
    state: Sweep = sweeper.task_function
    context, config, launcher = sweeper.hydra_context, sweeper.config, sweeper.launcher
    jobs = combinations([*(f"{k}={v}" for k, v in sweeper.params.items()), *arguments], context.config_loader)
    composer = compose.Composer(lambda shared: context.config_loader.load_sweep_config(config, shared))
    checked = _check_all(state, composer, jobs)
    state.progress.total = len(checked)
    state.progress.say(f"{len(checked)} jobs checked")
    directory = Path(str(config.hydra.sweep.dir)).absolute()
    with folders.claimed(directory, "sweep"):
        state.directory = directory
        first = 0 if checked[0].job.config.resume else folders.next_number(directory)
        checked = [CheckedJob(first + c.number, c.overrides, c.job) for c in checked]
        state.say_what_is_new(checked)
        OmegaConf.save(config, directory / "multirun.yaml")
        if hasattr(launcher, "launch_checked"):
            launcher.launch_checked(checked, composer)
        else:
            size = sweeper.max_batch_size or len(checked)
            for start in range(0, len(checked), size):
                batch = checked[start : start + size]
                launcher.launch([list(c.overrides) for c in batch], initial_job_idx=batch[0].number)
    return state.progress.rows


def combinations(arguments: Sequence[str], config_loader: Any) -> list[tuple[str, ...]]:
    """Every combination of swept values; the leftmost override varies slowest. Raises: `ConfigError`."""
    choices: dict[str, list[str]] = {}
    override = None
    try:
        for override in OverridesParser.create(config_loader=config_loader).parse_overrides(list(arguments)):
            key = override.get_key_element()
            if not override.is_sweep_override():
                choices[key] = [f"{key}={override.get_value_element_as_str()}"]
                continue
            if not override.is_discrete_sweep():
                raise ConfigError(
                    f"{override.input_line}: only searching sweepers take intervals: hydra/sweeper=optuna."
                )
            values = itertools.islice(override.sweep_string_iterator(), MAX_JOBS + 1)
            choices[key] = [f"{key}={value}" for value in values]
            if not choices[key]:
                raise ConfigError(f"{override.input_line} holds no value: this sweep has no job.")
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, arguments) from error
    except (ValueError, ZeroDivisionError) as error:
        line = override.input_line if override else "the sweep"
        raise error if isinstance(error, ConfigError) else ConfigError(f"{line}: {one_line(error)}") from error
    if (total := math.prod(len(values) for values in choices.values())) > MAX_JOBS:
        raise ConfigError(f"the sweep has {total:,} jobs or more; the limit is {MAX_JOBS:,}. Sweep fewer values.")
    return list(itertools.product(*choices.values()))


def _check_all(state: Sweep, composer: compose.Composer, jobs: Sequence[tuple[str, ...]]) -> list[CheckedJob]:
    from strands_diffusers import evaluation

    checked: list[CheckedJob] = []
    for number, overrides in enumerate(jobs):
        own = tuple(o for o in overrides if not o.startswith("hydra"))
        try:
            checked.append(CheckedJob(number, overrides, state.check(composer.run_config(own))))
        except RequestError as error:
            raise type(error)(f"job {number} of {len(jobs)} ({' '.join(own)}): {error}") from error
    evaluation.check_sweep([c.job.config for c in checked])
    state.tracker = checked[0].job.tracker
    return checked


def launch_checked(launcher: Any, checked: Sequence[CheckedJob], composer: compose.Composer) -> None:
    """What `hydra/launcher=in_process` does for our sweeper: the checked jobs one after the other."""
    state: Sweep = launcher.task_function
    setup_globals()
    for each in checked:
        own = tuple(o for o in each.overrides if not o.startswith("hydra"))
        node = composer.node(each.overrides)
        with read_write(node.hydra), open_dict(node.hydra):
            node.hydra.job.id = node.hydra.job.num = each.number
        HydraConfig.instance().set_config(node)  # a job's folder may be named by `${hydra:...}`
        directory = state.place(each.job, Path(str(node.hydra.sweep.dir), str(node.hydra.sweep.subdir)).absolute())
        ended = len(state.progress.rows)
        try:
            if resume.is_generated(each.job, state._known(each.job)):
                state.run(each.job, directory, own)
                continue
            folders.check_free(directory, each.job.hash)
            with read_write(node.hydra):
                node.hydra.sweep.subdir = (
                    directory.name if directory.parent == state.directory else node.hydra.sweep.subdir
                )
            in_hydra(
                launcher.hydra_context, node, functools.partial(state.run, each.job, directory, own), "hydra.sweep"
            )
        except Exception as error:
            if len(state.progress.rows) == ended:  # it never began
                state.failed(directory, own, error, name=str(each.number))
            if isinstance(error, OSError) and not any(state.progress.counts.values()):
                raise
        configure_log(launcher.config.hydra.hydra_logging, launcher.config.hydra.verbose)
        if state.progress.rows[-1].status == "failed" and each.job.config.sweep.fail_fast:
            state.progress.say(f"stopped at the first failure (sweep.fail_fast=true): job {each.number}")
            return


def in_hydra(context: HydraContext, node: DictConfig, call: Callable[[], Any], key: str) -> Any:
    """Run one job as Hydra does, with its log file and `.hydra` folder. Raises what the call raises."""
    outcome: list[Any] = []

    def task(_: DictConfig) -> None:
        try:
            outcome.append(call())
        except Exception as error:  # noqa: BLE001 - Hydra would print a line of its own before it hands it on
            outcome.append(error)

    subdir = "hydra.sweep.subdir" if key == "hydra.sweep" else None
    run_job(
        hydra_context=context,
        task_function=task,
        config=node,
        job_dir_key=f"{key}.dir",
        job_subdir_key=subdir,
    )
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def launch(launcher: Any, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """What `hydra/launcher=in_process` does for a sweeper that chooses as it goes."""
    setup_globals()
    returned = []
    for number, overrides in enumerate(job_overrides, first):
        node = launcher.hydra_context.config_loader.load_sweep_config(launcher.config, list(overrides))
        with read_write(node.hydra), open_dict(node.hydra):
            node.hydra.job.id = node.hydra.job.num = number
        done = run_job(
            hydra_context=launcher.hydra_context,
            task_function=launcher.task_function,
            config=node,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        returned.append(done)
        if done.status is JobStatus.FAILED and node.sweep.fail_fast:
            raise SweepError(f"stopped at the first failure (sweep.fail_fast=true): job {number}")
    return returned


def objective(config: RunConfig, record: Record) -> float | None:
    """The value of `sweep.objective`; `StrandsDiffusersError` listing what there is where it was not measured."""
    if (name := config.sweep.objective) is None:
        return None
    _, metric, value = name.split(".")
    try:
        return record.metrics[metric][value]
    except KeyError:
        there = [f"metrics.{m}.{v}" for m, values in record.metrics.items() for v in values]
        raise StrandsDiffusersError(
            f"sweep.objective={name} was not measured; there is {', '.join(there) or 'nothing'}."
        ) from None
