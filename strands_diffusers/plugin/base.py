"""The five classes that plugins subclass. Built-ins subclass the very same ones.

Each class carries a unique `name` (its choice in the Hydra group), a docstring (its line in `strands-diffusers
plugins`), a nested `Config` dataclass (the typed options of that choice) and, where it reads a rollout,
`output_types`: what it needs of one. The module that defines it must import in milliseconds: import torch,
matplotlib, imageio-ffmpeg or wandb inside methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strands_diffusers.config import schema
from strands_diffusers.errors import ObservationError
from strands_diffusers.results import Artifact, Observation, ObservationRequest, Rollout, RunInfo

if TYPE_CHECKING:
    import numpy as np


class _Configured(ABC):
    """A named class with a nested, typed `Config`."""

    name: ClassVar[str]
    """Unique among its kind; what users type."""

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
            cls.Config = dataclass(type("Config", (cls.Config,), namespace))


class _RolloutReader(_Configured):
    """A class that reads a finished rollout."""

    output_types: ClassVar[tuple[str, ...]]
    """What it needs of a rollout: `video`, `sound`, `action`, `image`, `mesh`, or `rollout` for whatever there is.
    The types of the selected serializers are what the engine computes (with `output=[]`: those of the selected
    visualizers and metrics); a class that needs a type which was not computed is not called."""


class Serializer(_RolloutReader):
    """Turns a rollout into files."""

    Config: ClassVar[type] = schema.SerializerConfig

    @abstractmethod
    def save(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Write the rollout's part into the existing folder `directory` and return what was written.

        Write to the final names: the runner hands over a private folder and renames it when the job is complete.
        Raise `OutputError` for arrays that cannot be written truthfully; never clip or rescale.
        """


class Visualizer(_RolloutReader):
    """Draws a rollout for people."""

    Config: ClassVar[type] = schema.VisualizerConfig

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


class Metric(_RolloutReader):
    """Measures a rollout, with the trivial baseline beside each score."""

    Config: ClassVar[type] = schema.MetricConfig

    measures: ClassVar[Mapping[str, Measure]]
    """Every value that `compute` may return, by its name (`psnr`, `psnr_repeat_first_frame`)."""

    @abstractmethod
    def compute(self, rollout: Rollout) -> dict[str, float]:
        """Return a value for each measure that the rollout allows; an empty dict where there is no reference."""


class Tracker(_Configured):
    """Logs runs somewhere people read them. Its failures are reported and never lose a rollout."""

    Config: ClassVar[type] = schema.TrackerConfig

    @abstractmethod
    def start(self, run: RunInfo) -> None:
        """Open the run, inside the job."""

    @abstractmethod
    def log(self, rollout: Rollout, artifacts: Sequence[Artifact], metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Log one sample: its files (already on disk), arrays and metrics (`{metric name: {value name: value}}`)."""

    @abstractmethod
    def finish(self, status: str, error: str | None = None, details: Mapping[str, Any] | None = None) -> None:
        """Close the run with `status` `done` or `failed`, the error's one line, and facts such as stage seconds.
        Called exactly once after `start`, also when the job failed.
        """

    def summarize(self, directory: Path, rows: Sequence[Any]) -> list[str]:
        """Log a finished sweep once, after its jobs: `rows` as in its `sweep.json` (number, status, overrides, error,
        stage, seconds, metrics), files below `directory / number`. Return lines for the person at the terminal.
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


class Source(_Configured):
    """Reads observations for one address scheme: `SCHEME:PATH[@key:value]...`."""

    Config: ClassVar[type] = schema.SourceConfig

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

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A source is named by its scheme."""
        super().__init_subclass__(**kwargs)
        if "scheme" in vars(cls):
            cls.name = cls.scheme

    def absolute(self, address: str, cwd: Path) -> str:
        """Return `address` with its relative paths made absolute as seen from `cwd`, called when a job is checked."""
        return address
