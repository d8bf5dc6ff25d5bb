"""The typed config: one dataclass per node, each field with its unit and range, checked when it becomes an object.

`OmegaConf.to_object` runs the `__post_init__` checks here; nothing past that line ever sees a `DictConfig`. A check
raises `ConfigError` with the field's name, the value, what is allowed and what to type instead. Checks that need more
than one node live in `checks.py`.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from omegaconf import MISSING

from strands_diffusers.config.conditions import ConditionConfig
from strands_diffusers.config.engines import EngineConfig
from strands_diffusers.config.fields import in_range, positive, require, require_text, within_limits
from strands_diffusers.config.models import DomainConfig, ModelConfig
from strands_diffusers.results import ActionSpace


@dataclass
class DenoisingConfig:
    """The denoising loop. null: `model.recommended` for what is asked of it, else the pipeline's own default."""

    _prefix: ClassVar[str] = "sampler"

    num_inference_steps: int | None = None
    """Denoising steps, 1 to 1000."""

    guidance_scale: float | None = None
    """Classifier-free guidance, >= 0; 1.0 switches the unconditional pass off."""

    flow_shift: float | None = None
    """Shift of the flow schedule, > 0."""

    def __post_init__(self) -> None:
        within_limits(self._prefix, self)


@dataclass
class SamplerConfig(DenoisingConfig):
    """The denoising loop, and how many samples it makes. In a closed loop policy and world have their own."""

    num_samples: int = 1
    """Futures drawn of one condition; sample i uses seed + i."""


@dataclass
class PolicySamplerConfig(DenoisingConfig):
    """The denoising loop of a policy that is a model. null: `model.recommended.policy`."""

    _prefix: ClassVar[str] = "policy.sampler"


@dataclass
class WorldSamplerConfig(DenoisingConfig):
    """The denoising loop of a world that is a model. null: `model.recommended.forward_dynamics`."""

    _prefix: ClassVar[str] = "world.sampler"


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

    verdict: str | None = None
    """Judge the finished sweep: action_sensitivity (sweep condition.perturb), cycle_consistency (inverse dynamics of
    run:DIR), seed_spread (seed), prompt_sensitivity (prompt), policy_ranking (policy, world and observation), or a
    plugin's. null: no judgement. A single run has none."""

    true_scores: str | None = None
    """CSV file of what policies truly reach, for policy_ranking without a true world: columns policy, score and, if known,
    observation; a row for each trial."""

    def __post_init__(self) -> None:
        in_range("sweep.retries", self.retries, 0, 100)
        positive("sweep.timeout_s", self.timeout_s, "seconds", instead="Use null for no limit.")
        require(
            self.objective is None or (self.objective.startswith("metrics.") and self.objective.count(".") == 2),
            f"sweep.objective={self.objective!r} is not a metric. Use metrics.<name>.<value>, as metrics.video.psnr.",
        )


@dataclass
class Options:
    """Base of the options of a serializer, visualizer, metric, tracker, source or score, which adds its own fields."""


@dataclass
class PolicyConfig:
    """Base of every `Policy.Config`: a choice of the group `policy`."""

    name: str = MISSING
    """model, replay, still, random or a plugin's; choose it with `policy=`."""


@dataclass
class WorldConfig:
    """Base of every `World.Config`: a choice of the group `world`."""

    name: str = MISSING
    """model or a plugin's; choose it with `world=`."""


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

    policy: PolicyConfig = MISSING
    """What chooses the actions; `condition=closed_loop` alone uses it."""

    world: WorldConfig = MISSING
    """What answers them with frames; `condition=closed_loop` alone uses it."""

    score: dict[str, Options] = field(default_factory=dict)
    """What says how good each frame of an episode is, by score name; `condition=closed_loop` alone uses it."""

    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    """The denoising loop."""

    output: dict[str, Options] = field(default_factory=dict)
    """What is written of a rollout, by serializer name."""

    visualizer: dict[str, Options] = field(default_factory=dict)
    """What is drawn of a rollout, by visualizer name."""

    metric: dict[str, Options] = field(default_factory=dict)
    """What is measured of a rollout, by metric name."""

    tracker: Options = MISSING
    """Where results are logged."""

    source: dict[str, Options] = field(default_factory=dict)
    """Options of the observation sources, by scheme."""

    prompt: str | None = None
    """The task or scene in words; null: the observation's own task."""

    observation: str | None = None
    """Path, `SCHEME:PATH[@key:value]...` or https URL of what was seen; null only for text conditions."""

    seed: int = 0
    """Seed of the sampling noise, 0 to 2**63 - 1."""

    hook_timeout_s: float | None = 300.0
    """Time limit of one call of a metric, a visualizer or a tracker [s], which costs its own result, and of a plugin's policy,
    world or score, which costs the job. null: none."""

    output_dir: str | None = None
    """Folder for the results; null: Hydra's own (`outputs/DATE/TIME`)."""

    resume: str | None = None
    """A sweep's folder, or `last`: run only what is missing or failed there."""

    sweep: SweepConfig = field(default_factory=SweepConfig)
    """How a sweep treats its jobs."""

    @property
    def space(self) -> ActionSpace:
        """What the numbers of an action chunk mean. Raises: `DomainError` for a name that diffusers does not know."""
        own = self.domain
        return ActionSpace(
            own.facts.name, own.statistics, own.normalization.value, own.gripper.value, self.model.pixel_map
        )

    def __post_init__(self) -> None:
        in_range("seed", self.seed, 0, 2**63 - 1)
        positive("hook_timeout_s", self.hook_timeout_s, "seconds", instead="Use null for no limit.")
        require(self.output_dir != "", "output_dir is empty. Name a folder, or leave it out (output_dir=null).")
        for name in ("prompt", "observation", "output_dir", "resume"):
            require_text(name, getattr(self, name))
        if self.prompt is not None:
            require(
                bool(self.prompt.strip()),
                "prompt holds only spaces. Say the task in words, or leave it out (prompt=null).",
            )
            require(
                len(self.prompt) <= MAX_PROMPT_CHARACTERS,
                f"prompt has {len(self.prompt):,} characters; the limit is {MAX_PROMPT_CHARACTERS:,}. Shorten it.",
            )


MAX_PROMPT_CHARACTERS = 20_000
"""Longer prompts are a pasted file, not a task; captions of the training data stay under 5,000 characters."""

Tree = dict[str, Any]
"""A resolved config as plain nested dicts, as manifests and trackers store it."""
