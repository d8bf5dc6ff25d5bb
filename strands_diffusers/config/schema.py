"""The typed config: one dataclass per node, each field with its unit and range, checked when it becomes an object.

`OmegaConf.to_object` runs the `__post_init__` checks here; nothing past that line ever sees a `DictConfig`. A check
raises `ConfigError` with the field's name, the value, what is allowed and what to type instead. Checks that need more
than one node live in `compose.py`.
"""

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

from strands_diffusers.errors import ConfigError


class Mode(str, Enum):
    """What the world model is asked for. The first three match `CosmosActionCondition.mode` in diffusers."""

    policy = "policy"
    forward_dynamics = "forward_dynamics"
    inverse_dynamics = "inverse_dynamics"
    text = "text"
    image = "image"
    video = "video"


class Dtype(str, Enum):
    """Weight and compute precision. `auto`: bfloat16 on CUDA and for the embedded model, else float32."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Offload(str, Enum):
    """How weights move between host and accelerator, in diffusers' own terms."""

    none = "none"
    model = "model"
    sequential = "sequential"
    group = "group"


class ViewPoint(str, Enum):
    """Camera label that diffusers turns into the framing sentence of the action caption."""

    ego_view = "ego_view"
    third_person_view = "third_person_view"
    wrist_view = "wrist_view"
    concat_view = "concat_view"


class Normalization(str, Enum):
    """Which map between physical units and model space the statistics stand for."""

    quantile = "quantile"
    min_max = "min_max"
    mean_std = "mean_std"


class Gripper(str, Enum):
    """What a gripper value means to whoever reads physical actions."""

    open_is_1 = "open_is_1"
    closed_is_1 = "closed_is_1"
    closed_is_minus_1 = "closed_is_minus_1"
    open_is_minus_1 = "open_is_minus_1"


class Keep(str, Enum):
    """Which end of a longer clip conditions a video-to-world rollout."""

    first = "first"
    last = "last"


class Perturb(str, Enum):
    """How the given actions are changed before a forward-dynamics rollout: a test of whether the model obeys them."""

    none = "none"
    shuffled = "shuffled"
    zero = "zero"
    mirrored = "mirrored"


class Verdict(str, Enum):
    """Tests of the world model that a finished sweep can be judged by; each needs certain things to be swept."""

    action_sensitivity = "action_sensitivity"
    cycle_consistency = "cycle_consistency"
    seed_spread = "seed_spread"
    prompt_sensitivity = "prompt_sensitivity"


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message)


def _in_range(name: str, value: float | None, low: float, high: float = math.inf, unit: str = "") -> None:
    """Refuse a number outside [low, high], NaN included; None passes."""
    if value is None or low <= value <= high:
        return
    wanted = f">= {low:g}" if math.isinf(high) else f"from {low:g} to {high:,.0f}"
    raise ConfigError(
        f"{name} must be {wanted}{f' {unit}' if unit else ''}, got {value}. Type {name}={max(low, 1):g}, for example."
    )


# --------------------------------------------------------------------------------------------------------- model


@dataclass
class LoraConfig:
    """A LoRA for the pipeline's transformer."""

    repo: str | None = None
    """Hub id or local folder of the LoRA weights; None: no LoRA."""

    weight_name: str | None = None
    """File inside `repo`; None: the only one there."""

    scale: float = 1.0
    """Strength, from 0 (off) to 1 (as trained), more exaggerates."""

    def __post_init__(self) -> None:
        _in_range("model.lora.scale", self.scale, 0.0)


@dataclass
class Recommended:
    """Sampler and canvas values that a model's authors recommend for one condition; null: the pipeline's own default."""

    num_inference_steps: int | None = None
    """Denoising steps, 1 and more."""

    guidance_scale: float | None = None
    """Classifier-free guidance; 1.0 switches it off."""

    flow_shift: float | None = None
    """Shift of the flow schedule, > 0; larger spends more steps at high noise."""

    num_frames: int | None = None
    """Frames of a text, image or video condition, 1 and more."""

    height: int | None = None
    """Canvas height of a text, image or video condition [pixels]."""

    width: int | None = None
    """Canvas width of a text, image or video condition [pixels]."""

    fps: float | None = None
    """Frame rate of a text, image or video condition [Hz]."""


@dataclass
class ModelConfig:
    """A world model: where its weights are and how they are loaded."""

    name: str = MISSING
    """Short name of the preset, shown in tables and run names."""

    repo: str = MISSING
    """Hub id (`nvidia/Cosmos3-Nano`), local folder, or `asset:NAME` for a model that ships with the package."""

    pipeline: str | None = "Cosmos3OmniPipeline"
    """Public diffusers pipeline class that loads `repo`; null: the one that its `model_index.json` names."""

    revision: str | None = None
    """Branch, tag or commit on the Hub; null: the default branch."""

    variant: str | None = None
    """Weight-file variant (`fp16`), where the repository has several."""

    dtype: Dtype = Dtype.auto
    """Precision of the weights."""

    device: str = "auto"
    """auto (CUDA, else Apple's mps, else cpu), cpu, mps, cuda or cuda:N."""

    offload: Offload = Offload.none
    """Keep weights on the host and move them when needed; everything but `none` needs an accelerator."""

    scheduler: str | None = None
    """Public diffusers scheduler class that replaces the checkpoint's; null: keep it."""

    lora: LoraConfig = field(default_factory=LoraConfig)
    """LoRA weights for the transformer."""

    guardrail: bool = False
    """Run NVIDIA's safety checker (gated weights, package cosmos_guardrail). Requested and effective state are recorded."""

    low_cpu_mem_usage: bool = True
    """Load weights without a second copy in host memory."""

    weights_gb: float | None = None
    """Size of the weights in bfloat16 [GB]; a model with one needs an accelerator, unless `device=cpu` is asked for."""

    pixel_map: bool = False
    """The model's pusht actions are pixels / 256 - 1: true for the embedded model alone."""

    domains: list[str] | None = None
    """Short names of the domains that the model was trained on; null: whatever diffusers knows."""

    chunk_sizes: list[int] | None = None
    """Chunk sizes that the model was trained on [steps]; null: any multiple of 4."""

    recommended: dict[str, Recommended] = field(default_factory=dict)
    """Defaults per condition: policy, forward_dynamics, inverse_dynamics, text, text_to_image, image, video."""

    def __post_init__(self) -> None:
        device = self.device
        _require(
            device in ("auto", "cpu", "mps", "cuda") or (device.startswith("cuda:") and device[5:].isdigit()),
            f"model.device={device!r} is not a device. Use auto, cpu, mps, cuda or cuda:N (model.device=cuda:0).",
        )
        _require(bool(self.repo.strip()), "model.repo is empty. Use a Hub id, a local folder or asset:cosmos3_pusht.")


# ----------------------------------------------------------------------------------------------------- condition


@dataclass
class ConditionConfig:
    """What the world model is conditioned on. One subclass per mode, with only that mode's fields."""

    mode: Mode = MISSING
    """Set by the subclass; choose it with `condition=`, never override it."""


@dataclass
class ActionConditionConfig(ConditionConfig):
    """Common to the three action modes."""

    chunk_size: int | None = None
    """Action steps T of one chunk, a multiple of 4; the paired video has T + 1 frames. null: the domain's own."""

    num_chunks: int = 1
    """Chunks K in one rollout, each starting from the last frame of the one before; 1 and more."""

    resolution_tier: int | None = None
    """Canvas 256, 480, 704 or 720; null: the smallest that needs no downscaling, else 480."""

    def __post_init__(self) -> None:
        _in_range("condition.chunk_size", self.chunk_size, 1, unit="steps")
        if self.chunk_size is not None and self.chunk_size % 4:
            below, above = self.chunk_size // 4 * 4, (self.chunk_size // 4 + 1) * 4
            hint = f"{below} or {above}" if below else f"{above}"
            raise ConfigError(
                f"condition.chunk_size={self.chunk_size} is not a multiple of 4: the video autoencoder packs 4 frames into "
                f"one, so the video would not be chunk_size + 1 frames long. Use condition.chunk_size={hint}."
            )
        _in_range("condition.num_chunks", self.num_chunks, 1)
        _require(
            self.resolution_tier in (None, 256, 480, 704, 720),
            f"condition.resolution_tier={self.resolution_tier} is not a tier. Use 256, 480, 704, 720 or null.",
        )


@dataclass
class PolicyConfig(ActionConditionConfig):
    """First frame + task -> future video + action chunk."""

    mode: Mode = Mode.policy


@dataclass
class ForwardDynamicsConfig(ActionConditionConfig):
    """First frame + actions -> future video."""

    mode: Mode = Mode.forward_dynamics

    actions: str | None = None
    """Action file (.json, .npy, .npz), [T, D] in model space; null: the observation's own actions."""

    perturb: Perturb = Perturb.none
    """Change them first: shuffled (steps in another, fixed order), zero (no motion), mirrored (motion negated)."""


@dataclass
class InverseDynamicsConfig(ActionConditionConfig):
    """Observed video -> the actions between its frames."""

    mode: Mode = Mode.inverse_dynamics


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
        _in_range("condition.num_frames", self.num_frames, 1, unit="frames")
        _in_range("condition.height", self.height, 16, unit="pixels")
        _in_range("condition.width", self.width, 16, unit="pixels")
        _require(
            self.fps is None or self.fps > 0, f"condition.fps must be > 0 Hz, got {self.fps}. Type condition.fps=24."
        )


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
        _require(
            bool(self.condition_frames) and min(self.condition_frames) >= 0,
            f"condition.condition_frames must be latent frame indexes >= 0, got {self.condition_frames}. Use [0,1].",
        )


# -------------------------------------------------------------------------------------------------------- domain


@dataclass
class DomainConfig:
    """An embodiment: which action columns the model speaks, at which rate, and how they become physical units."""

    name: str = MISSING
    """diffusers' own domain name (`bridge_orig_lerobot`)."""

    fps: float = MISSING
    """Rate of actions and frames [Hz], > 0."""

    chunk_size: int = MISSING
    """Action steps T that the model was trained on for this domain."""

    view_point: ViewPoint = MISSING
    """Camera label of the training captions."""

    statistics: str | None = None
    """Built-in name or path of the normaliser statistics; null: actions stay in model space."""

    normalization: Normalization = Normalization.quantile
    """Map between physical units and model space that the statistics stand for."""

    gripper: Gripper = Gripper.open_is_1
    """Gripper polarity of the physical values that are written; model space is never touched."""

    def __post_init__(self) -> None:
        _require(self.fps > 0, f"domain.fps must be > 0 Hz, got {self.fps}. Type domain.fps=10, for example.")
        _in_range("domain.chunk_size", self.chunk_size, 1, unit="steps")


# ------------------------------------------------------------------------------------- engine, sampler, and sweep


@dataclass
class EngineConfig:
    """How fast the pipeline runs, and whether its numbers are diffusers' own."""

    name: str = MISSING
    """auto, exact, eager, compiled, fp8 or cached; choose it with `engine=`."""


@dataclass
class AutoEngineConfig(EngineConfig):
    """`exact` where it can hold, else `eager` with one line saying why; the manifest records which ran."""

    name: str = "auto"

    cache_mb: int = 1024
    """Memory for reused conditioning [MB], on the model's device."""


@dataclass
class ExactEngineConfig(EngineConfig):
    """The numbers of diffusers' own call with less work; refused where that cannot hold."""

    name: str = "exact"

    cache_mb: int = 1024
    """Memory for reused conditioning [MB], on the model's device."""


@dataclass
class EagerEngineConfig(EngineConfig):
    """diffusers' own call, untouched: the yardstick."""

    name: str = "eager"


@dataclass
class CompiledEngineConfig(EngineConfig):
    """`exact` with regional `torch.compile`: slow first rollout, then faster; rounding may differ. CUDA only."""

    name: str = "compiled"

    cache_mb: int = 1024
    """Memory for reused conditioning [MB], on the model's device."""


@dataclass
class Fp8EngineConfig(EngineConfig):
    """`exact` with 8-bit matrix products (torchao): less memory and time, not the same numbers. CUDA only."""

    name: str = "fp8"

    cache_mb: int = 1024
    """Memory for reused conditioning [MB], on the model's device."""


@dataclass
class CachedEngineConfig(EngineConfig):
    """diffusers' step cache: skips steps that change little. Not the same numbers; not for inverse dynamics."""

    name: str = "cached"


ENGINES: dict[str, type[EngineConfig]] = {
    "auto": AutoEngineConfig,
    "exact": ExactEngineConfig,
    "eager": EagerEngineConfig,
    "compiled": CompiledEngineConfig,
    "fp8": Fp8EngineConfig,
    "cached": CachedEngineConfig,
}
"""The choices of the group `engine`."""


@dataclass
class SamplerConfig:
    """The denoising loop. null: `model.recommended` for the condition, else the pipeline's own default."""

    num_inference_steps: int | None = None
    """Denoising steps, 1 to 1000."""

    guidance_scale: float | None = None
    """Classifier-free guidance, >= 0; 1.0 switches the unconditional pass off."""

    flow_shift: float | None = None
    """Shift of the flow schedule, > 0."""

    num_samples: int = 1
    """Futures drawn of one condition; sample i uses seed + i."""

    def __post_init__(self) -> None:
        _in_range("sampler.num_inference_steps", self.num_inference_steps, 1, 1000, "steps")
        _in_range("sampler.guidance_scale", self.guidance_scale, 0.0)
        _require(
            self.flow_shift is None or self.flow_shift > 0,
            f"sampler.flow_shift must be > 0, got {self.flow_shift}. Type sampler.flow_shift=5, for example.",
        )
        _in_range("sampler.num_samples", self.num_samples, 1, 4096)


@dataclass
class SweepConfig:
    """How a sweep (`-m`) treats its jobs."""

    retries: int = 0
    """How often a failed job is tried again."""

    timeout_s: float | None = None
    """Time limit of one job [s], loading the model not counted; null: none."""

    fail_fast: bool = False
    """Stop the sweep at its first failed job."""

    objective: str | None = None
    """What a job returns to an optimising sweeper: `metrics.video.psnr`."""

    verdict: Verdict | None = None
    """Judge the finished sweep: action_sensitivity (sweep condition.perturb), cycle_consistency (inverse dynamics of
    run:DIR), seed_spread (seed), prompt_sensitivity (prompt). null: no judgement. A single run has none."""

    def __post_init__(self) -> None:
        _in_range("sweep.retries", self.retries, 0, 100)
        _require(
            self.timeout_s is None or self.timeout_s > 0,
            f"sweep.timeout_s must be > 0 seconds, got {self.timeout_s}. Use null for no limit.",
        )
        _require(
            self.objective is None or (self.objective.startswith("metrics.") and self.objective.count(".") == 2),
            f"sweep.objective={self.objective!r} is not a metric. Use metrics.<name>.<value>, as metrics.video.psnr.",
        )


# ------------------------------------------------------------------------------- what plugins bring: base classes


@dataclass
class SerializerConfig:
    """Base of every `Serializer.Config`: a choice of the group `output`."""


@dataclass
class VisualizerConfig:
    """Base of every `Visualizer.Config`: a choice of the group `visualizer`."""


@dataclass
class MetricConfig:
    """Base of every `Metric.Config`: a choice of the group `metric`."""


@dataclass
class TrackerConfig:
    """Base of every `Tracker.Config`: a choice of the group `tracker`."""


@dataclass
class SourceConfig:
    """Base of every `Source.Config`: always present, as `source.<scheme>`."""


# ----------------------------------------------------------------------------------------------------------- run


@dataclass
class RunConfig:
    """One rollout, from what is asked to where it goes."""

    model: ModelConfig = MISSING
    """The world model."""

    condition: ConditionConfig = MISSING
    """What it is conditioned on."""

    domain: DomainConfig = MISSING
    """The embodiment; only the action modes use it."""

    engine: EngineConfig = MISSING
    """How fast it runs."""

    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    """The denoising loop."""

    output: dict[str, SerializerConfig] = field(default_factory=dict)
    """What is written of a rollout, by serializer name."""

    visualizer: dict[str, VisualizerConfig] = field(default_factory=dict)
    """What is drawn of a rollout, by visualizer name."""

    metric: dict[str, MetricConfig] = field(default_factory=dict)
    """What is measured of a rollout, by metric name."""

    tracker: TrackerConfig = MISSING
    """Where results are logged."""

    source: dict[str, SourceConfig] = field(default_factory=dict)
    """Options of the observation sources, by scheme."""

    prompt: str | None = None
    """The task or scene in words; null: the observation's own task."""

    observation: str | None = None
    """Path, `SCHEME:PATH[@key:value]...` or https URL of what was seen; null only for text conditions."""

    seed: int = 0
    """Seed of the sampling noise, 0 to 2**63 - 1."""

    output_dir: str | None = None
    """Folder for the results; null: Hydra's own (`outputs/DATE/TIME`)."""

    resume: str | None = None
    """A sweep's folder, or `last`: run only what is missing or failed there."""

    sweep: SweepConfig = field(default_factory=SweepConfig)
    """How a sweep treats its jobs."""

    def __post_init__(self) -> None:
        _in_range("seed", self.seed, 0, 2**63 - 1)
        if self.prompt is not None:
            _require(
                bool(self.prompt.strip()),
                "prompt holds only spaces. Say the task in words, or leave it out (prompt=null).",
            )
            _require(
                len(self.prompt) <= MAX_PROMPT_CHARACTERS,
                f"prompt has {len(self.prompt):,} characters; the limit is {MAX_PROMPT_CHARACTERS:,}. Shorten it.",
            )


MAX_PROMPT_CHARACTERS = 20_000
"""Longer prompts are a pasted file, not a task; captions of the training data stay under 5,000 characters."""

CONDITIONS: dict[str, type[ConditionConfig]] = {
    "policy": PolicyConfig,
    "forward_dynamics": ForwardDynamicsConfig,
    "inverse_dynamics": InverseDynamicsConfig,
    "text": TextConfig,
    "image": ImageConfig,
    "video": VideoConfig,
}
"""The choices of the group `condition`."""

ACTION_MODES = ("policy", "forward_dynamics", "inverse_dynamics")
"""Modes that involve an action chunk."""

Tree = dict[str, Any]
"""A resolved config as plain nested dicts, as manifests and trackers store it."""
