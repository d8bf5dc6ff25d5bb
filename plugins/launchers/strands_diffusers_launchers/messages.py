"""The messages between a sweep and its workers: plain data that pickles, whoever carries it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from strands_diffusers.runner.progress import Row


@dataclass(frozen=True)
class Sweep:
    """What every job of a sweep has in common."""

    payload: bytes
    """For `work.JobRunner`: how to compose and run a job."""

    directory: Path
    """The sweep's folder, absolute; workers' output goes to `worker_N.log` in it."""

    def log(self, slot: int) -> Path:
        """Where a worker's output goes: one file, also when the worker is replaced."""
        return self.directory / f"worker_{slot}.log"


@dataclass(frozen=True)
class Job:
    """One job as Hydra hands it out."""

    number: int
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Started:
    """A worker composed the job and begins with it."""

    directory: str
    """Its folder, absolute."""

    since: float
    """When it began [Unix seconds]."""

    retries: int = 0
    timeout_s: float | None = None
    fail_fast: bool = False


@dataclass(frozen=True)
class Moved:
    """The job writes to another folder than Hydra's: a resumed sweep found a different job there."""

    directory: str


@dataclass(frozen=True)
class Line:
    """A line for the person at the terminal."""

    line: str


@dataclass(frozen=True)
class Stage:
    """Where a job is: `denoise 3/8`."""

    name: str
    done: int
    total: int

    @property
    def loads(self) -> bool:
        """Whether the model is being loaded, which no time limit counts; every attempt at a job begins with it."""
        return self.name == "load"


@dataclass(frozen=True)
class Ended:
    """A job is over, and its worker is ready for the next."""

    status: str
    """done, skipped or failed."""

    value: float | None = None
    """What an optimising sweeper gets."""

    error: str | None = None
    line: str | None = None
    """What is shown of a failed job, in one line."""

    name: str = ""
    """Name of the job's folder."""

    failed: Row | None = None
    """What a failed job has in the sweep's table."""

    facts: dict[str, Any] = field(default_factory=dict)
    """More fields of Hydra's `JobReturn`, as plain containers."""


@dataclass(frozen=True)
class Gone:
    """The worker's process is dead."""

    reason: str
    """In words: `was killed by SIGKILL`."""

    recorded: bool = False
    """Whether it ended on request, and so left the record of its job itself."""


Message = Started | Moved | Line | Stage | Ended | Gone


class Worker(Protocol):
    """A process that runs one job at a time and stays warm between them."""

    slot: int

    def give(self, job: Job) -> None:
        """Hand it a job. A worker that is dead says so in the next `wait`."""

    def interrupt(self) -> None:
        """Ask it to drop its job and end."""

    def kill(self) -> None:
        """End it at once, whatever it does. The next `wait` reports it gone."""

    def end(self) -> None:
        """Let an idle worker end, and wait until it has."""


W = TypeVar("W", bound=Worker)


class Backend(Protocol, Generic[W]):
    """Where workers live."""

    def start(self, slot: int) -> W:
        """Start a worker; it gets ready on its own time."""

    def wait(self, workers: Sequence[W], timeout: float | None) -> Iterable[tuple[W, Message]]:
        """The next messages of the workers; empty where none says anything within `timeout` seconds."""

    def close(self) -> None:
        """Release what the backend itself holds; its workers have ended."""
