"""What the world model is conditioned on: one dataclass per mode, so that a wrong combination cannot be written."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from strands_diffusers.config.fields import MAX_CHUNKS, TIERS, Keep, Mode, Perturb, in_range, require, within_limits

TEMPORAL_FACTOR = 4
"""Frames that the Wan autoencoder packs into one latent frame, after the first."""


@dataclass
class ConditionConfig:
    """What the world model is conditioned on. One subclass per mode, with only that mode's fields."""

    mode: Mode = MISSING
    """Set by the subclass; choose it with `condition=`, never override it."""


@dataclass
class ActionConditionConfig(ConditionConfig):
    """Common to the modes that have actions."""

    chunk_size: int | None = None
    """Action steps T of one chunk, a multiple of 4; the paired video has T + 1 frames. null: the domain's own."""

    resolution_tier: int | None = None
    """Canvas 256, 480, 704 or 720; null: the smallest that needs no downscaling, else 480."""

    def __post_init__(self) -> None:
        in_range("condition.chunk_size", self.chunk_size, 1, unit="steps")
        require(
            self.resolution_tier in (None, *TIERS),
            f"condition.resolution_tier={self.resolution_tier} is not a tier. Use 256, 480, 704, 720 or null.",
        )


@dataclass
class ChunksConfig(ActionConditionConfig):
    """Common to the three action modes of Cosmos 3."""

    num_chunks: int = 1
    """Chunks K in one rollout, each starting from the last frame of the one before; 1 and more. Cut off, it goes on in its folder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range("condition.num_chunks", self.num_chunks, 1, MAX_CHUNKS)

    @property
    def steps(self) -> int:
        """Steps of all chunks."""
        assert self.chunk_size is not None  # composing filled it in
        return self.num_chunks * self.chunk_size


@dataclass
class PolicyConditionConfig(ChunksConfig):
    """First frame + task -> future video + action chunk."""

    mode: Mode = Mode.policy


@dataclass
class ForwardDynamicsConfig(ChunksConfig):
    """First frame + actions -> future video."""

    mode: Mode = Mode.forward_dynamics

    actions: str | None = None
    """Action file (.json, .npy, .npz), [T, D] in model space; null: the observation's own actions."""

    perturb: Perturb = Perturb.none
    """Change them first: shuffled (steps in another, fixed order), zero (no motion), mirrored (motion negated)."""


@dataclass
class InverseDynamicsConfig(ChunksConfig):
    """Observed video -> the actions between its frames."""

    mode: Mode = Mode.inverse_dynamics


@dataclass
class ClosedLoopConfig(ActionConditionConfig):
    """First frame + task -> an episode: `policy=` acts in `world=` and looks again, judged by `score=[...]`."""

    mode: Mode = Mode.closed_loop

    num_looks: int = 4
    """How often the policy looks (K), 1 and more. Cut off, the episode goes on from its last look in its folder."""

    act_steps: int | None = None
    """Actions of each chunk that are acted on before the policy looks again (n), 1 to chunk_size; null: all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range("condition.num_looks", self.num_looks, 1, MAX_CHUNKS, "looks")
        in_range("condition.act_steps", self.act_steps, 1, unit="steps")

    @property
    def steps(self) -> int:
        """Steps of all that a policy may propose: it may replay so many, and be judged by the frame after them."""
        assert self.chunk_size is not None  # composing filled both in
        assert self.act_steps is not None
        return (self.num_looks - 1) * self.act_steps + self.chunk_size


@dataclass
class WorldConditionConfig(ConditionConfig):
    """Common to text, image and video to world."""

    num_frames: int | None = None
    """Frames to generate; 1 gives an image. null: the model's recommended number."""

    height: int | None = None
    """Canvas height [pixels]; null: the model's recommended value."""

    width: int | None = None
    """Canvas width [pixels]; null: the model's recommended value."""

    fps: float | None = None
    """Frame rate of the generated video [Hz], > 0; null: the model's recommended value."""

    negative_prompt: str | None = None
    """What the video should not show; null: the pipeline's own default."""

    sound: bool = False
    """Generate sound with the video, where the checkpoint can."""

    system_prompt: bool | None = None
    """Prepend the model's system prompt; null: the pipeline's own default."""

    def __post_init__(self) -> None:
        within_limits("condition", self)


@dataclass
class TextConfig(WorldConditionConfig):
    """Text -> video (or an image with `num_frames=1`)."""

    mode: Mode = Mode.text


@dataclass
class ImageConfig(WorldConditionConfig):
    """Text + first frame -> video."""

    mode: Mode = Mode.image


@dataclass
class VideoConfig(WorldConditionConfig):
    """Text + a clip -> its continuation."""

    mode: Mode = Mode.video

    keep: Keep = Keep.first
    """Which end of a longer clip conditions the rollout."""

    condition_frames: list[int] = field(default_factory=lambda: [0, 1])
    """Indexes of the latent frames that stay clean; latent frame k > 0 stands for 4 video frames."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            bool(self.condition_frames) and min(self.condition_frames) >= 0,
            f"condition.condition_frames must be latent frame indexes >= 0, got {self.condition_frames}. Use [0,1].",
        )

    @property
    def frames_needed(self) -> int:
        """Video frames that the clean latent frames stand for."""
        return TEMPORAL_FACTOR * max(self.condition_frames) + 1


CONDITIONS: dict[str, type[ConditionConfig]] = {
    "policy": PolicyConditionConfig,
    "forward_dynamics": ForwardDynamicsConfig,
    "inverse_dynamics": InverseDynamicsConfig,
    "closed_loop": ClosedLoopConfig,
    "text": TextConfig,
    "image": ImageConfig,
    "video": VideoConfig,
}
"""The choices of the group `condition`."""

ACTION_MODES = ("policy", "forward_dynamics", "inverse_dynamics")
"""Modes of Cosmos 3 that involve an action chunk."""
