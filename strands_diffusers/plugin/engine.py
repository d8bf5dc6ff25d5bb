"""What every engine takes and gives: a `Call` in, one `Sample` per seed out.

An engine decides how fast a pipeline runs, never what it is asked. It takes the very arguments of the pipeline's own
call and leaves the pipeline as it found it, so that one warm object serves all engines, in any order.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from strands_diffusers.config import engines
from strands_diffusers.plugin.base import Configured

if TYPE_CHECKING:
    import numpy as np

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all) after each denoising step."""


@dataclass(frozen=True, eq=False)
class Call:
    """One request: what to generate, how often, and which outputs are needed."""

    arguments: Mapping[str, Any]
    """Keyword arguments of `pipe(...)` exactly as diffusers takes them, without `generator` and `output_type`."""

    wanted: frozenset[str]
    """Output types that are needed, of `video`, `sound`, `action` and `image`."""

    seeds: tuple[int, ...] = (0,)
    """One sample is generated per seed."""

    actions: np.ndarray | None = None
    """float32 `[B, T, D]`: the given actions of each seed, in place of those in `arguments`; None: those, for all. Only an
    engine with `takes_actions` is ever given any."""

    num_frames: int | None = None
    """How many frames of the video are needed, from its first; an engine may leave the others out. None: all."""


@dataclass(eq=False)
class Sample:
    """One result. What nobody wanted may be None."""

    video: np.ndarray | None = None
    """uint8 `[F, H, W, 3]`, rounded as diffusers' `pil` output is; one frame where `num_frames=1`."""

    sound: np.ndarray | None = None
    """float32 `[N, C]`, nominally -1 to 1, at the sound tokenizer's rate."""

    action: np.ndarray | None = None
    """float32 `[T, D]` in model space, never clipped; None where actions are an input or no part of the call."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time of each stage [s]: this sample's share where several were generated together."""

    raw: Any = None
    """The pipeline's own output object, for pipelines other than Cosmos 3: `output_type="np"`, not converted."""


class Engine(Configured):
    """A way to run a pipeline. One object serves a job; keep nothing of it on the pipeline."""

    Config: TypeAlias = engines.EngineConfig

    takes_actions: ClassVar[bool] = False
    """Whether it reads `Call.actions`; else each of their chunks is a call of its own."""

    @abstractmethod
    def refuse(self, pipe: Any, call: Call) -> str | None:
        """Return in one line why this engine cannot hold for this loaded pipeline and call, or None where it can."""

    def refuse_before_load(self, pipeline: str, mode: str, device: str, dtype: str, offload: str) -> str | None:
        """Return in one line what rules this engine out before any weight is loaded, or None where it may hold.

        `pipeline` is diffusers' class name, `mode` the condition's; `device`, `dtype` and `offload` are as in the config.
        """
        return None

    @abstractmethod
    def run(self, pipe: Any, call: Call, progress: Progress | None = None) -> list[Sample]:
        """Generate one sample per seed, in the order of `call.seeds`."""
