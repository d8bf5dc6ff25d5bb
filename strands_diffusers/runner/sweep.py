"""Hydra's side of running: the task function of one job, the check of all jobs before the first load, the summary."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from strands_diffusers.config import compose
from strands_diffusers.config.explain import explain
from strands_diffusers.errors import RequestError, StrandsDiffusersError, one_line
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.runner import job, manifest

log = logging.getLogger(__name__)

Report = Callable[[job.JobResult], None]


def prepare() -> None:
    """Make Hydra know our choices in this process; launchers' workers call it before their first job."""
    index = plugins()
    groups = ("output", "visualizer", "metric", "tracker", "source")
    choices = {group: {name: cls.Config for name, cls in index.classes(group).items()} for group in groups}
    compose.register(choices, index.config_paths)


def task(node: DictConfig, report: Report | None = None, progress: job.Progress | None = None) -> float | None:
    """Hydra's task function: run the composed job in Hydra's output folder and return `sweep.objective`, if any."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    overrides = list(hydra.overrides.task)
    multirun = hydra.mode is RunMode.MULTIRUN
    directory = Path(hydra.runtime.output_dir)
    try:
        cwd = Path(hydra.runtime.cwd)
        config = compose.to_run_config(node, overrides, cwd)
        group = _group_name(Path(hydra.sweep.dir)) if multirun else None
        result = job.run_job(config, directory, overrides=overrides, group=group, progress=progress, cwd=cwd)
    except Exception as error:
        if multirun:
            if manifest.read_failure(directory) is None:
                manifest.write_failure(directory, error, "check", overrides)
            line = f"job {hydra.job.num} failed ({' '.join(overrides)}): {one_line(error)}  [{directory / manifest.FAILURE}]"
            log.error(line)  # noqa: TRY400 - one line; the traceback is in the file that it names
        raise
    if report:
        report(result)
    return objective(config.sweep.objective, result.manifest["metrics"])


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


def validate(overrides: Sequence[str]) -> int:
    """Compose and check every job of a sweep, before Hydra makes a folder or a weight is loaded; return their number.

    Raises: the first `RequestError`, naming the job's overrides.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    with compose._own_hydra():
        loader = GlobalHydra.instance().config_loader()
        try:
            parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
            jobs = [combination for batch in BasicSweeper.split_arguments(parsed, None) for combination in batch]
        except HydraException as error:
            raise explain(error, overrides) from error
    for number, combination in enumerate(jobs):
        mine = [o for o in combination if not o.startswith("hydra")]
        try:
            job.check(compose.compose(mine))
        except RequestError as error:
            raise type(error)(f"job {number} of {len(jobs)} ({' '.join(mine)}): {error}") from error
    return len(jobs)


@dataclass(frozen=True)
class Row:
    """One job of a sweep in its summary."""

    number: str
    status: str
    overrides: list[str]
    error: str | None
    seconds: float | None
    metrics: dict[str, dict[str, float]]


def summarize(directory: Path) -> list[Row]:
    """Read the jobs of a sweep's folder and write `sweep.json` beside them."""
    rows = []
    for folder in sorted((p for p in directory.iterdir() if p.is_dir()), key=lambda p: (len(p.name), p.name)):
        done, failed = manifest.read(folder), manifest.read_failure(folder)
        if done:
            seconds = sum(v for k, v in done["seconds"].items() if isinstance(v, int | float))
            rows.append(Row(folder.name, "done", done["overrides"], None, round(seconds, 3), done["metrics"]))
        elif failed:
            rows.append(Row(folder.name, "failed", failed["overrides"], failed["error"], None, {}))
    record: dict[str, Any] = {
        "schema_version": manifest.SCHEMA_VERSION,
        "finished": manifest.now(),
        "jobs": [vars(r) for r in rows],
    }
    manifest.write_json(directory / "sweep.json", record)
    return rows


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


class Folders(Callback):
    """Hydra callback that notes where this command writes: Hydra forgets it once the command is over."""

    latest: ClassVar[Path | None] = None

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the folder of a single run."""
        Folders.latest = Path(config.hydra.run.dir).absolute()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the folder of a sweep."""
        Folders.latest = Path(config.hydra.sweep.dir).absolute()


IN_WORKER = "STRANDS_DIFFUSERS_WORKER"
"""Set in launchers' worker processes, where the terminal belongs to the parent."""


def in_worker() -> bool:
    """Whether this process is a launcher's worker."""
    return bool(os.environ.get(IN_WORKER))
