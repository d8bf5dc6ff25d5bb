"""The classes that plugins subclass. Built-ins subclass the very same ones; engines have theirs in `plugin.engine`.

Each class carries a unique `name`, a docstring (its line in `strands-diffusers plugins`), where it is a choice of a
Hydra group a nested `Config` dataclass (its typed options) and, where it reads a rollout, `output_types`: what it
needs of one. The module that defines it must import in milliseconds: import torch, matplotlib, imageio-ffmpeg or
wandb inside methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from strands_diffusers.config import schema
from strands_diffusers.errors import ObservationError
from strands_diffusers.results import Artifact, Observation, ObservationRequest, Rollout, RunInfo

if TYPE_CHECKING:
    import numpy as np

    from strands_diffusers.records import Record


class Named(ABC):
    """A class that a hook returns."""

    name: ClassVar[str]
    """Unique among its kind; what users type: a-z, 0-9 and _, beginning with a letter."""


class Configured(Named):
    """A named class with a nested, typed `Config`."""

    Config: ClassVar[type]
    """Dataclass of the options, a subclass of the base class's own `Config`, every field with a docstring."""

    def __init__(self, config: Any = None) -> None:
        """Keep `config`, an instance of the nested `Config`; None means its defaults."""
        self.config = self.Config() if config is None else config

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give a class without options a `Config` of its own, so that a config's type always names its class."""
        super().__init_subclass__(**kwargs)
        if "Config" not in vars(cls) and hasattr(cls, "Config"):
            namespace = {
                "__doc__": "No options.",
                "__module__": cls.__module__,
                "__qualname__": f"{cls.__qualname__}.Config",
            }
            cls.Config = type("Config", (cls.Config,), namespace)  # its fields are its base's: `dataclass` adds none


class _RolloutReader(Configured):
    """A class that reads a finished rollout."""

    output_types: ClassVar[tuple[str, ...]]
    """What it needs of a rollout: `video`, `sound`, `action`, `image`, `mesh`, or `rollout` for whatever there is.
    The types of the selected serializers are what the engine computes (with `output=[]`: those of the selected
    visualizers and metrics); a class that needs a type which was not computed is not called."""

    @classmethod
    def reads(cls, rollout: Rollout) -> bool:
        """Whether the rollout holds what the class needs."""
        return rollout.has.issuperset(t for t in cls.output_types if t != "rollout")


class Serializer(_RolloutReader):
    """Turns a rollout into files."""

    Config: TypeAlias = schema.Options

    @abstractmethod
    def save(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Write what the class serves into the existing folder `directory` and return what was written.

        Write to the final names: the runner hands over a private folder and renames it when the job is complete.
        Raise `OutputError` for arrays that cannot be written truthfully; never clip or rescale.
        """


class Visualizer(_RolloutReader):
    """Draws a rollout for people."""

    Config: TypeAlias = schema.Options

    @classmethod
    def reads(cls, rollout: Rollout) -> bool:
        """As for every reader; the actions of forward dynamics are given, and worth drawing."""
        given = {"action"} if rollout.given_action is not None else set()
        return (rollout.has | given).issuperset(t for t in cls.output_types if t != "rollout")

    @abstractmethod
    def draw(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Draw into the existing folder `directory` and return what was written; an empty list where there is
        nothing to show (a comparison without a reference).
        """

    def draw_all(self, rollouts: Sequence[Rollout], directory: Path) -> list[Artifact]:
        """Draw the samples of one job together and return what was written; without an override, nothing.

        Called once in a job of several samples (`sampler.num_samples` > 1), beside `draw` for each of them; `directory`
        is the job's own folder, above the samples' folders.
        """
        return []


@dataclass(frozen=True)
class Measure:
    """What one value of a metric is: its unit, which way is better, and a sentence for tables."""

    unit: str
    """`dB`, `m`, `deg`, `px`, or an empty string for a unitless value."""

    better: Literal["higher", "lower", "neither"]
    """Which direction is better."""

    meaning: str
    """One sentence."""

    baseline: bool = False
    """Whether it is the score of a trivial answer, which a rollout's own score is compared with: no result itself."""


UNDECLARED = Measure("", "neither", "The plugin that measured this is not installed where this page was made.")
"""What is known of a value that no installed metric declares."""


class Metric(_RolloutReader):
    """Measures a rollout, with the trivial baseline beside each score."""

    Config: TypeAlias = schema.Options

    measures: ClassVar[Mapping[str, Measure]]
    """Every value that `compute` may return, by its name (`psnr`, `psnr_repeat_first_frame`)."""

    @abstractmethod
    def compute(self, rollout: Rollout) -> dict[str, float]:
        """Return a value for each measure that the rollout allows; an empty dict where there is no reference."""


class Tracker(Configured):
    """Logs runs somewhere people read them. Its failures are reported and never lose a rollout."""

    Config: TypeAlias = schema.Options

    @property
    def limit_s(self) -> float:
        """How long each call may take [s]; one that takes longer is a problem, and the last that is made."""
        return 60.0

    @abstractmethod
    def start(self, run: RunInfo) -> None:
        """Open the run, before the model is loaded. A run of the same `run.id` is continued."""

    @abstractmethod
    def log(self, record: Record, rollouts: Sequence[Rollout]) -> None:
        """Log a finished job, once: `record` is on disk beside the files that it lists; one rollout per sample."""

    @abstractmethod
    def finish(self, record: Record) -> None:
        """Close the run. `record.status` is `done` or `failed`, `record.error` says why, `record.problems` what else
        failed. Called exactly once after `start`; without `log` before it where the job failed.
        """

    def progress(self, step: int, values: Mapping[str, float], files: Mapping[str, Path]) -> None:
        """Log numbers and pictures of long work on its way, between `start` and `finish`. Optional."""

    def summarize(self, run: RunInfo, records: Sequence[Record]) -> list[str]:
        """Log a finished sweep, once all its jobs have ended; called again, with the same `run.id`, when it is resumed.

        `run.directory` is the sweep's folder, `records` are those of its jobs. Return lines for the terminal.
        """
        return []

    def notes(self) -> list[str]:
        """Lines for the person at the terminal once the run is closed (`wandb sync ...`)."""
        return []


@dataclass(frozen=True)
class ActionRows:
    """All actions of a dataset, a piece (an episode, a file) in memory at a time."""

    pieces: Iterator[np.ndarray]
    """`[T, D]` each, physical units, a gripper without a unit 0 closed to 1 open; read when iterated over."""

    fps: float | None = None
    """Their rate [Hz], where the source knows it."""


class Source(Configured):
    """Reads observations for one address scheme: `SCHEME:PATH[@key:value]...`."""

    Config: TypeAlias = schema.Options

    scheme: ClassVar[str]
    """What stands before the colon; also the source's `name`."""

    @abstractmethod
    def read(self, address: str, request: ObservationRequest) -> Observation:
        """Read the observation at `address` (the part after `SCHEME:`), no more of it than `request` asks for.

        Raise `ObservationError` with what is wrong and what there is instead. Called before any weight is loaded.
        """

    def action_rows(self, address: str, domain: str) -> ActionRows:
        """Return every true action behind `address` in the physical units of `domain`'s columns, piece by piece.

        `strands-diffusers stats` reads a whole dataset through it. Optional: a source without it has no statistics.
        """
        raise ObservationError(f"the source {self.name!r} has no dataset of actions: statistics need one.")

    def episodes(self, address: str) -> Sequence[tuple[str, int]]:
        """Return every episode behind `address`: an address that `read` takes, with `@start:N` after it, and its frames.

        `strands-diffusers adapt` reads a whole dataset through it. Optional: a source without it has no dataset.
        """
        raise ObservationError(
            f"the source {self.name!r} has no dataset of episodes. Type lerobot:DIR, or run:DIR of a sweep."
        )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A source is named by its scheme."""
        super().__init_subclass__(**kwargs)
        if "scheme" in vars(cls):
            cls.name = cls.scheme

    def absolute(self, address: str, cwd: Path) -> str:
        """Return `address` with its relative paths made absolute as seen from `cwd`, called when a job is checked."""
        return address


@dataclass(frozen=True)
class Table:
    """A table for the report."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | int | None]]
    note: str = ""
    """One line below it."""


@dataclass(frozen=True)
class Judgement:
    """One result of a verdict over a finished sweep."""

    name: str
    """The verdict's name, with a suffix where it judges several things: `cycle_consistency.policy`."""

    verdict: str
    """One line for people, with the numbers that it rests on."""

    holds: bool | None
    """Whether the model passes; None where there is nothing to pass, or it cannot be judged."""

    numbers: Mapping[str, Any] = field(default_factory=dict)
    """The numbers, JSON-ready, nested if need be."""

    tables: Mapping[str, Table] = field(default_factory=dict)
    """Tables by title, which stand among those of the sweep."""

    draw: Callable[[Path], object] | None = None
    """Draws a picture of the judgement to the PNG file that it is given."""


class Verdict(Named):
    """Judges a finished sweep: `sweep.verdict=<name>`.

    `needs` and `varies` are called before anything is loaded, `judge` once all jobs have ended.
    """

    def needs(self, config: schema.RunConfig) -> str | None:
        """Return what one job's config lacks, as a phrase that ends with what to type, or None where it will do.

        The phrase follows `sweep.verdict=<name> `: "needs videos with known actions. Use condition=forward_dynamics".
        """
        return None

    def varies(self, configs: Sequence[schema.RunConfig]) -> str | None:
        """Return what the sweep does not vary, in the same form as `needs`, or None where it varies enough."""
        return None

    @abstractmethod
    def judge(self, records: Sequence[Record]) -> list[Judgement]:
        """Judge the records of the sweep's jobs whose status is `done`, in order of their number.

        Raise a `StrandsDiffusersError` where they do not suffice: its line becomes the judgement.
        """


class Panel(Named):
    """A block of the report page, below the built-in ones."""

    title: ClassVar[str]
    """Its heading."""

    @abstractmethod
    def content(self, directory: Path, records: Sequence[Record]) -> Table | str | None:
        """Return what to show of the records below `directory`; None where there is nothing.

        A string is HTML; the page shows it in a frame of its own, in which no script runs and nothing is fetched.
        """


@dataclass(frozen=True)
class Command:
    """A verb of the command line: `strands-diffusers <name> ...`."""

    name: str
    """a-z, 0-9, _ and -, beginning with a letter; no built-in verb's name."""

    help: str
    """One line for `strands-diffusers --help`."""

    run: Callable[[list[str]], int]
    """Called with the arguments after the verb; returns the exit status. A `StrandsDiffusersError` that it raises is
    shown as one line: status 2 for a `RequestError`, else 1."""

    completion: Sequence[str] = ()
    """Words that the shell completes after the verb."""
