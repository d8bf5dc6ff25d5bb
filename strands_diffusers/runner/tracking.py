"""What the runner knows of trackers: the name and the id of a run, and a tracker that cannot spoil a rollout."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from strands_diffusers.errors import StrandsDiffusersError
from strands_diffusers.plugin import guard
from strands_diffusers.plugin.base import Tracker
from strands_diffusers.records import Problem, Record, swept
from strands_diffusers.records.axes import parsed_overrides
from strands_diffusers.results import Rollout, RunInfo

log = logging.getLogger(__name__)

_TOKEN = ".run-id"
"""File with a random number that tells one folder of runs from another, wherever it is moved."""

_SHORT = {"num_inference_steps": "steps", "guidance_scale": "guidance", "num_samples": "samples", "flow_shift": "shift"}
_VALUE_LIMIT = 40
"""Characters of a value in a run's name."""


class SafeTracker:
    """A tracker that cannot spoil a rollout: whatever it raises becomes a problem, and no call outlasts its limit."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._open = False
        self.problems: list[Problem] = []
        """What failed so far."""

    def _guard(self, what: str, call: Callable[[], None]) -> bool:
        name = f"tracker {self._tracker.name}"
        try:
            guard.run("", name, call, self._tracker.limit_s)
        except StrandsDiffusersError as error:
            problem = Problem(name, f"could not {what}: {guard.text(error)[:200]}")
            self.problems.append(problem)
            log.warning("%s", problem)
            if isinstance(error, guard.PluginFault) and error.__cause__ is None:
                self._open = False  # no answer in time: it is not called again
            return False
        return True

    def start(self, run: RunInfo) -> None:
        """Open the tracker's run; where that fails, it is not called again."""
        self._open = self._guard("start", lambda: self._tracker.start(run))

    def log(self, record: Record, rollouts: Sequence[Rollout]) -> None:
        """Log a finished job."""
        if self._open:
            self._guard("log", lambda: self._tracker.log(record, rollouts))

    def progress(self, step: int, values: Mapping[str, float], files: Mapping[str, Path]) -> None:
        """Log how long work gets on."""
        if self._open:
            self._guard("log", lambda: self._tracker.progress(step, values, files))

    def finish(self, record: Record) -> None:
        """Close the run, once."""
        if self._open:
            self._open = False
            self._guard("finish", lambda: self._tracker.finish(record))

    def notes(self) -> list[str]:
        """Lines for the person at the terminal: what went wrong, then the tracker's own."""
        found: list[str] = []
        self._guard("say how it went", lambda: found.extend(map(str, self._tracker.notes())))
        return [*map(str, self.problems), *found]


def sweep_info(directory: Path, records: Sequence[Record]) -> RunInfo:
    """The summary run of a sweep in `directory`: in the group of its jobs, and the same one when it is resumed."""
    group, (_, shared) = group_name(directory), swept(records)
    config = {"jobs": len(records), "shared": shared, "sweep_id": group}
    return RunInfo(f"{group} summary", directory, config, "sweep", group, id=run_id(directory, "summary"))


def group_name(sweep: Path) -> str:
    """A sweep's name for trackers: its dated folder."""
    parent = sweep.parent.name
    return f"{parent}_{sweep.name}" if parent[:2] == "20" else sweep.name


def run_id(folder: Path, digest: str) -> str:
    """The id of the run of a job (its hash) in a sweep's folder: the same when it is tried again there.

    A random token in the folder tells it from other folders, also of other machines; where none can be written, the id
    is a new one each time.
    """
    token = secrets.token_hex(8)
    path, mine = folder / _TOKEN, folder / f"{_TOKEN}.{token}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            mine.write_text(token, encoding="ascii")
            with contextlib.suppress(FileExistsError):  # another job of the sweep was quicker
                path.hardlink_to(mine)
            mine.unlink()
        token = path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        log.debug("no %s in %s: %s", _TOKEN, folder, error)
    return hashlib.sha256(f"{token} {digest}".encode()).hexdigest()[:16]


def run_name(directory: Path, overrides: Sequence[str]) -> str | None:
    """`steps=8 guidance=3`: what the sweep around a job's folder varies, with this job's values; None where nothing."""
    try:
        path = directory.parent / "multirun.yaml"
        given = _given(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    own = parsed_overrides(overrides)
    swept = {key: value for key, value in own.items() if given.get(key, "").replace(" ", "") != value.replace(" ", "")}
    if not swept:
        return None
    tails = [key.rpartition(".")[2] for key in swept]
    labels = [_SHORT.get(tail, tail) if tails.count(tail) == 1 else key for key, tail in zip(swept, tails, strict=True)]
    return " ".join(f"{label}={_shortened(value)}" for label, value in zip(labels, swept.values(), strict=True))


@functools.lru_cache(maxsize=4)
def _given(path: Path, modified: int) -> dict[str, str]:
    """The overrides that a sweep was started with, as Hydra keeps them beside its jobs."""
    import yaml

    try:
        return parsed_overrides(yaml.safe_load(path.read_text(encoding="utf-8"))["hydra"]["overrides"]["task"])
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _shortened(value: str) -> str:
    """A value that fits into a name: of an address its last part, of a long text its beginning."""
    value = " ".join(value.split())
    if "/" in value and " " not in value:
        value = value.rstrip("/").rpartition("/")[2]
    return value if len(value) <= _VALUE_LIMIT else f"{value[: _VALUE_LIMIT - 1]}…"
