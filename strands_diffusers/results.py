"""The plain data that passes between the rooms: observations in, rollouts and artifacts out.

Array suffixes used across the project: T steps or frames of a chunk, F frames, H height, W width, C channels,
K chunks, D action width, N audio samples, V vertices, n images.

| array     | dtype, shape               | unit and range                                                      |
|-----------|----------------------------|---------------------------------------------------------------------|
| `video`   | uint8 `[F, H, W, 3]`       | RGB, 0 to 255, at `fps`; F = K*T + 1 in the action modes            |
| `sound`   | float32 `[N, C]`           | nominally -1 to 1, at `sampling_rate` [Hz]                          |
| `action`  | float32 `[K, T, D]`        | model space, unitless, nominally -1 to 1 and never clipped          |
| `image`   | uint8 `[n, H, W, 3]`       | RGB, 0 to 255                                                       |
| `mesh`    | float32 `[V, 3]`, int32 `[F, 3]` | vertices and triangles                                        |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

OUTPUT_TYPES = ("video", "sound", "action", "image", "mesh", "episode")
"""The canonical output types of a rollout, in the order in which tables list them."""


@dataclass(frozen=True, eq=False)
class Observation:
    """What was seen: frames and, where the source has them, the true actions and the task.

    Frame 0 conditions a policy or a forward-dynamics rollout; the frames after it are what truly followed, used as
    the reference. Inverse dynamics and video conditions use them all.
    """

    frames: np.ndarray | None = None
    """uint8 `[F, H, W, 3]` RGB, or None where the source holds actions only."""

    fps: float | None = None
    """Rate of `frames` [Hz]; None for a still image or a source that does not say."""

    actions: np.ndarray | None = None
    """True actions, float32 `[T, D]` in model space; row t moves frame t to frame t + 1."""

    task: str | None = None
    """The task in words, used as the prompt where the user gave none."""

    domain: str | None = None
    """diffusers' domain name, where the source knows it; a rollout in another domain is refused."""

    source: str = ""
    """Where it came from: the address as the user typed it, made absolute."""

    details: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else the source knows (episode, start frame, simulator state): recorded, never interpreted."""

    view_point: str | None = None
    """Camera label of the frames (`concat_view`), where the source knows it; a rollout that says another is refused."""


@dataclass(frozen=True)
class ObservationRequest:
    """What a job needs of an observation, so that a source reads no more than that."""

    num_frames: int | None = None
    """Frames that the condition can use, K*T + 1 in the action modes; None: all there are."""

    fps: float | None = None
    """Rate at which the model will see the frames [Hz]; None: the source's own."""

    domain: str | None = None
    """diffusers' name of the domain, or None where no action is involved."""

    mode: str = ""
    """The condition's mode: policy, forward_dynamics, inverse_dynamics, text, image or video."""

    space: ActionSpace | None = None
    """The domain's model space, for sources that hold physical actions: `actions.to_model(rows, request.space)`."""

    view_point: str | None = None
    """Camera label that the model will be told, or None where no action is involved."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh: `vertices` float32 `[V, 3]`, `faces` int32 `[F, 3]`."""

    vertices: np.ndarray
    faces: np.ndarray


@dataclass(frozen=True)
class ActionSpace:
    """What the action numbers of a rollout mean. Everything that `strands_diffusers.actions` needs to decode them."""

    domain: str
    """diffusers' domain name."""

    statistics: str | None = None
    """Path or built-in name of the normaliser statistics; None: the values stay in model space."""

    normalization: str = "quantile"
    """How the statistics map to model space: quantile, min_max or mean_std."""

    gripper: str = "open_is_1"
    """Polarity of the gripper in physical values: open_is_1 (closed 0, as trained), closed_is_1 (open 0),
    closed_is_minus_1 (open 1) or open_is_minus_1 (closed 1, as LIBERO reads it)."""

    pixel_map: bool = False
    """True where a model space of [-1, 1) stands for pixels 0 to 512: a convention of the embedded model alone."""


@dataclass(frozen=True, eq=False)
class Scored:
    """The values of one score over an episode."""

    values: np.ndarray
    """float64 `[F]`, one per frame; nan where a frame has none."""

    unit: str
    """`px`, or an empty string for a unitless value."""

    better: str
    """`higher` or `lower`."""


@dataclass(frozen=True, eq=False)
class Episode:
    """A policy acting in a world, a look at a time: what `Rollout.video` and `Rollout.action` do not say.

    K looks, T steps proposed at each, n acted on, F = K*n + 1 frames.
    """

    policy: str
    """Name of what chose the actions."""

    world: str
    """Name of what answered them."""

    act_steps: int
    """n: how many actions of each chunk were acted on."""

    looks: tuple[int, ...]
    """Index of the frame that each look saw last: 0, n, 2n, ..."""

    proposed_action: np.ndarray
    """float32 `[K, T, D]` in model space: all that the policy proposed. The first n of each were acted on."""

    proposed_video: np.ndarray | None = None
    """uint8 `[K, T + 1, H, W, 3]`, or at least n + 1 frames: what the policy itself imagined at each look. Read back from
    disk `[K, n + 1, ...]`: cut to what was acted on, each first frame the world's."""

    scores: Mapping[str, Scored] = field(default_factory=dict)
    """By score name."""

    states: Sequence[Any] | None = None
    """The world's own state at each frame, where it tells: F of them, JSON-ready."""

    seconds: Sequence[Mapping[str, float]] = ()
    """Wall seconds of each look by stage: `policy`, `world`, and what these are made of."""

    details: Sequence[Mapping[str, Any]] = ()
    """What the policy said of each look."""

    reference: str = ""
    """Name of the reference world, in which the same actions were acted out; `Rollout.reference_video` is its video."""

    reference_scores: Mapping[str, Scored] = field(default_factory=dict)
    """The scores there."""

    reference_states: Sequence[Any] | None = None
    """The reference world's own states, F of them."""

    alternatives: np.ndarray | None = None
    """uint8 `[K, M, H, W, 3]`: the last predicted frame of M of the proposals that were compared at each look, the one that
    was acted on first, then from better to worse. Their scores are in `details`."""


@dataclass(frozen=True, eq=False)
class Rollout:
    """One result of one sample of a world model, with all that is needed to judge it."""

    mode: str
    """policy, forward_dynamics, inverse_dynamics, closed_loop, text, image or video."""

    prompt: str = ""
    """The prompt as the user gave it."""

    seed: int | None = None
    """Seed of this sample: the job's seed plus the sample's index."""

    video: np.ndarray | None = None
    sound: np.ndarray | None = None
    action: np.ndarray | None = None
    image: np.ndarray | None = None
    mesh: Mesh | None = None
    episode: Episode | None = None
    """What happened in a closed loop, beside `video` and `action`, which are those of the world and the acted steps."""

    fps: float | None = None
    """Rate of `video` [Hz]."""

    sampling_rate: int | None = None
    """Rate of `sound` [Hz]."""

    space: ActionSpace | None = None
    """What the actions mean; None where no action is involved."""

    observation: Observation = field(default_factory=Observation)
    """What the model was given."""

    given_action: np.ndarray | None = None
    """The actions that conditioned a forward-dynamics rollout, float32 `[K, T, D]` in model space."""

    reference_video: np.ndarray | None = None
    """The observed frames through the pipeline's own frame transform, uint8 `[F', H, W, 3]`, the size of `video`.
    F' may be smaller than F where the observation ended earlier; None where there is only a first frame."""

    reference_action: np.ndarray | None = None
    """The observation's own actions over the same window, float32 `[K, T, D]` in model space, or None."""

    sample: int | None = None
    """Index of this sample in a batch of `sampler.num_samples`; None in a job of one."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall seconds per stage (encode, denoise, decode, ...) as far as the engine can tell them apart."""

    details: Mapping[str, Any] = field(default_factory=dict)
    """What the engine and the pipeline report: effective engine, guardrail, peak memory. Recorded in the manifest."""

    @property
    def domain(self) -> str | None:
        """Diffusers' domain name, or None where no action is involved."""
        return self.space.domain if self.space else None

    @property
    def has(self) -> frozenset[str]:
        """The output types that this rollout holds."""
        return frozenset(name for name in OUTPUT_TYPES if getattr(self, name) is not None)


@dataclass(frozen=True)
class Artifact:
    """One file that a serializer or visualizer wrote."""

    path: Path
    """Absolute path while the job runs; the manifest stores it relative to the job's folder."""

    type: str
    """What it shows: an output type, or the picture's name, which is its visualizer's where that draws but one."""

    details: Mapping[str, Any] = field(default_factory=dict)
    """JSON-ready facts about the content: `shape` (of the array), `dtype`, `fps`, `unit`, ... ."""


@dataclass(frozen=True)
class RunInfo:
    """What a tracker knows when a job starts."""

    name: str
    """Readable name of the run: in a sweep what is swept, `steps=8 guidance=3`; else `policy-cosmos3_pusht-pusht-seed0`."""

    directory: Path
    """The job's folder."""

    config: Mapping[str, Any]
    """The resolved config as plain nested dicts."""

    job_type: str
    """The condition's mode."""

    group: str | None = None
    """The sweep that the job belongs to, or None."""

    tags: tuple[str, ...] = ()

    id: str = ""
    """16 hex digits, the same whenever a job is tried again in its sweep's folder. Empty: the run is a new one."""
