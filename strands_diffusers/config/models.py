"""A world model and an embodiment: what is loaded, and what its actions mean."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from strands_diffusers import domains
from strands_diffusers.config.fields import (
    TIERS,
    Dtype,
    Gripper,
    Normalization,
    Offload,
    Scene,
    ViewPoint,
    in_range,
    positive,
    require,
    require_text,
    within_limits,
)

COSMOS3 = "Cosmos3OmniPipeline"
"""diffusers' pipeline of Cosmos 3: the only one with actions."""


@dataclass
class LoraConfig:
    """A LoRA for the pipeline's transformer."""

    repo: str | None = None
    """Hub id or local folder of the LoRA weights; None: no LoRA. A folder that `adapt` wrote also holds a domain's action
    projections, which replace the checkpoint's."""

    weight_name: str | None = None
    """File inside `repo`; None: the only one there."""

    scale: float = 1.0
    """Strength, from 0 (off) to 1 (as trained), more exaggerates; action projections have none."""

    def __post_init__(self) -> None:
        in_range("model.lora.scale", self.scale, 0, 100)


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

    pipeline: str | None = COSMOS3
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

    tiers: list[int] | None = None
    """Resolution tiers that the model was trained on; null: 256, 480, 704 and 720."""

    sound: bool = True
    """Whether the checkpoint makes sound; a local one is looked at."""

    scene: Scene | None = None
    """The one scene that the model was trained on: an observation that does not look like it is warned about; null: any."""

    recommended: dict[str, Recommended] = field(default_factory=dict)
    """Defaults per condition: policy, forward_dynamics, inverse_dynamics, text, text_to_image, image, video."""

    def __post_init__(self) -> None:
        device = self.device
        require(
            device in ("auto", "cpu", "mps", "cuda") or (device.startswith("cuda:") and device[5:].isdigit()),
            f"model.device={device!r} is not a device. Use auto, cpu, mps, cuda or cuda:N (model.device=cuda:0).",
        )
        require(bool(self.repo.strip()), "model.repo is empty. Use a Hub id, a local folder or asset:cosmos3_pusht.")
        for name in ("repo", "revision", "variant"):
            require_text(f"model.{name}", getattr(self, name))
        for name in ("domains", "chunk_sizes", "tiers"):
            require(getattr(self, name) != [], f"model.{name}=[] allows nothing. Use model.{name}=null for no limit.")
        for size in self.chunk_sizes or ():
            in_range("model.chunk_sizes", size, 1, unit="steps")
        for tier in self.tiers or ():
            require(tier in TIERS, f"model.tiers: {tier} is not a tier. Use {', '.join(map(str, TIERS))} or null.")
        positive("model.weights_gb", self.weights_gb, "GB", 33)
        for condition, values in self.recommended.items():
            within_limits(f"model.recommended.{condition}", values)


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
        positive("domain.fps", self.fps, "Hz")
        in_range("domain.chunk_size", self.chunk_size, 1, unit="steps")

    @property
    def facts(self) -> domains.Domain:
        """What is known of the embodiment. Raises: `DomainError` for a name that diffusers does not know."""
        return domains.get(self.name)
