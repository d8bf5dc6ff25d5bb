"""What acts in a world: policies choose actions, worlds answer them with frames, scores say how good what is seen is.

The loop of `condition=closed_loop`: the policy looks (`act`), the world steps through the first `act_steps` actions of its
chunk (`step`), the policy looks again. The same objects serve a whole job; `reset` begins each episode anew.

Letters: F frames, H height, W width, T steps of a chunk, n steps that are acted on, D action width. Actions are float32
in model space; row t moves frame t to frame t + 1.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from strands_diffusers.config import schema
from strands_diffusers.plugin.base import Configured, Measure
from strands_diffusers.results import ActionSpace, Observation

if TYPE_CHECKING:
    import numpy as np

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total) between steps; it may raise, which ends the episode."""

SEED_STEP = 1_000_003
"""What is added to a sample's seed from one look, or chunk of a long rollout, to the next."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What is fixed for an episode: what a policy, a world and a score may know before anything is loaded."""

    config: schema.RunConfig
    """The whole checked config: `model`, `domain`, `engine`, `seed`, ..."""

    observation: Observation
    """Where the episode begins: its first frame, and whatever its source knows (`details`)."""

    space: ActionSpace
    """What the actions mean."""

    prompt: str
    """The task in words; may be empty."""

    fps: float
    """Steps, and frames, per second of the world's time [Hz]."""

    chunk_size: int
    """T: actions that a policy proposes at each look."""

    act_steps: int
    """n: how many of them are acted on before it looks again, 1 to T."""

    num_looks: int
    """K: how often it looks."""


@dataclass(frozen=True, eq=False)
class Look:
    """What a policy sees when it is asked for its next actions."""

    index: int
    """0 for the first look of an episode."""

    frames: np.ndarray
    """uint8 `[F, H, W, 3]`: every frame so far, the latest last. F = index * n + 1."""

    actions: np.ndarray
    """float32 `[F - 1, D]`: every action so far."""

    prompt: str
    """The task in words; may be empty."""

    seed: int
    """Seed for this look; differs from look to look and from sample to sample."""

    hold: np.ndarray | None = None
    """float32 `[D]`: the action that keeps everything where it is, at the first look of a world that knows; see
    `World.hold`."""

    proposed: np.ndarray | None = None
    """float32 `[T, D]`: the policy's own answer to the look before, of which the first steps were acted on; None at the first."""

    state: Any = None
    """What the world knows of itself beyond its frames (a simulator's state), where it tells; else None."""

    progress: Progress | None = None
    """To be called in between by whatever takes long."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """A policy's answer to a look."""

    actions: np.ndarray
    """float32 `[T, D]`, finite, model space; the first n are acted on."""

    video: np.ndarray | None = None
    """uint8 `[T + 1, H, W, 3]`, or fewer frames that reach past the acted steps: what the policy itself imagines will happen,
    where it imagines anything."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall seconds per stage."""

    details: Mapping[str, Any] = field(default_factory=dict)
    """JSON-ready facts that are recorded with the look."""

    alternatives: np.ndarray | None = None
    """uint8 `[M, H, W, 3]`: where each of M proposals was imagined to lead, the one that is acted on first."""


def wrong_actions(rows: Any, shape: tuple[int, ...]) -> str | None:
    """What is wrong with actions that must be finite float32 of a shape `[T, D]`; None where nothing is."""
    import numpy as np

    if not isinstance(rows, np.ndarray) or rows.dtype != np.float32 or rows.shape != shape:
        return f"returned actions {described(rows)}; they must be float32 {list(shape)}"
    if not np.isfinite(rows).all():
        step, column = np.argwhere(~np.isfinite(rows))[0]
        return f"returned {rows[step, column]} in step {step}, column {column}"
    return None


def wrong_values(values: Any, count: int) -> str | None:
    """What is wrong with a score's values, one float per frame or nan; None where nothing is."""
    import numpy as np

    if not isinstance(values, np.ndarray) or values.shape != (count,) or values.dtype.kind != "f":
        return f"returned {described(values)}; it must be float64 [{count}]"
    return "returned inf; a frame without a value is nan" if np.isinf(values).any() else None


def described(value: Any) -> str:
    """Type and shape of an array, or the name of another type."""
    return f"{value.dtype} {list(value.shape)}" if hasattr(value, "ndim") else type(value).__name__


class Acting(Configured):
    """What policies, worlds and scores have in common."""

    uses_model: ClassVar[bool] = False
    """Whether it loads the chosen `model=`: whether that can be loaded here is then checked before anything runs."""

    reaches_out: ClassVar[bool] = False
    """Whether it speaks to other programs or machines, or runs code that its options name: callers of an MCP server may not
    choose it then."""

    def check(self, setting: Setting) -> None:
        """Refuse what cannot work, before anything is loaded. Raises: a `RequestError`."""

    def fingerprint(self, setting: Setting) -> str | None:
        """What decides the result beside the options: the content of a file that they name, a version. Part of the
        job's identity.
        """
        return None

    def close(self) -> None:
        """Let go of connections, windows and the like; called once a job has ended, whatever happened.

        A job that is tried again begins with `reset`.
        """


class Policy(Acting):
    """Chooses actions by what it sees: `policy=<name>` with `condition=closed_loop`."""

    Config: TypeAlias = schema.PolicyConfig

    keeps_state: ClassVar[bool] = False
    """Whether an answer depends on more than the look and the setting (a plan, a random generator of its own). An episode
    that is resumed asks such a policy again for the looks that it has; the answers of others are taken from the disk."""

    def reset(self, setting: Setting, seed: int) -> None:
        """Begin an episode. `seed` is the sample's."""

    @abstractmethod
    def act(self, look: Look) -> Proposal:
        """Return the next chunk of actions. Raises: a `StrandsDiffusersError`."""

    def answers(self, look: Look, seeds: Sequence[int]) -> list[Proposal] | None:
        """Return one answer per seed to the same look, where an answer depends on nothing but the look and its seed.

        None, without an override: then `policy=best_of` keeps a policy for each of its proposals.
        """
        return None


@dataclass(frozen=True, eq=False)
class Stepped:
    """A world's answer to actions."""

    frames: np.ndarray
    """uint8 `[n, H, W, 3]`: the frame after each action."""

    states: Sequence[Any] | None = None
    """The world's own state after each action, where it tells: n of them, JSON-ready."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall seconds per stage."""


class World(Acting):
    """Answers actions with frames: `world=<name>` with `condition=closed_loop`."""

    Config: TypeAlias = schema.WorldConfig

    @abstractmethod
    def reset(self, setting: Setting, seed: int) -> tuple[np.ndarray, Any]:
        """Begin an episode where the observation says; return the first frame uint8 `[H, W, 3]` and the state or None."""

    @abstractmethod
    def step(self, actions: np.ndarray, num_steps: int, progress: Progress | None = None) -> Stepped:
        """Act on the first `num_steps` rows of `actions` float32 `[T, D]`.

        The rows after them are what would be done next; a model may use them as context, a simulator leaves them.
        """

    def restore(self, frames: np.ndarray, actions: np.ndarray, act_steps: int) -> None:
        """Continue an episode that was cut off, after `reset`: `frames` `[F, H, W, 3]`, `actions` `[F - 1, D]` so far.

        By default the actions are stepped through again, which suits a simulator.
        """
        for begin in range(0, len(actions), act_steps):
            self.step(actions[begin : begin + act_steps], act_steps)

    def hold(self) -> np.ndarray | None:
        """Return the action float32 `[D]` that keeps everything where it is now, where the world knows; else None.

        Asked before the first action of an episode, where the domain's actions are targets and nothing was told yet.
        """
        return None

    def show(self, frames: np.ndarray) -> np.ndarray:
        """Return frames uint8 `[F, H, W, 3]` of another world at the size of this one's own, to be compared with them."""
        return frames


@dataclass(frozen=True, eq=False)
class Track:
    """A stretch of what happened in a world, as scores read it."""

    frames: np.ndarray
    """uint8 `[F, H, W, 3]`, the first being the one before the first action."""

    actions: np.ndarray
    """float32 `[F - 1, D]`."""

    states: Sequence[Any] | None = None
    """F states, where the world tells them."""

    seed: int = 0
    progress: Progress | None = None


class Score(Acting):
    """How good each frame of an episode is: `score=[<name>]` with `condition=closed_loop`."""

    Config: TypeAlias = schema.Options

    measure: ClassVar[Measure]
    """Its unit, which way is better, a sentence. `better` must not be `neither`: policies choose by it."""

    def reset(self, setting: Setting) -> None:
        """Begin an episode."""

    @abstractmethod
    def compute(self, track: Track) -> np.ndarray:
        """Return one value per frame, float64 `[F]`; nan where a frame has none (one that only judges actions has none
        for the first). A value depends on this track alone.
        """
