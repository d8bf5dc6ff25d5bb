"""Checks and defaults that need more than one config node. All run before any weight is loaded."""

import dataclasses
import re
from functools import partial
from typing import TypeVar

from strands_diffusers import domains
from strands_diffusers.config.conditions import (
    ACTION_MODES,
    ActionConditionConfig,
    ClosedLoopConfig,
    WorldConditionConfig,
)
from strands_diffusers.config.fields import changed
from strands_diffusers.config.models import COSMOS3, Recommended
from strands_diffusers.config.schema import DenoisingConfig, RunConfig
from strands_diffusers.errors import ConfigError, near_miss
from strands_diffusers.results import OUTPUT_TYPES

T = TypeVar("T")
EMBEDDED = "cosmos3_pusht"
EMBEDDED_REPO = f"asset:{EMBEDDED}"

GIVES: dict[str, tuple[str, ...]] = {
    "policy": ("video", "action"),
    "forward_dynamics": ("video",),
    "inverse_dynamics": ("video", "action"),
    "closed_loop": ("video", "action", "episode"),
    "text": ("video", "sound", "image", "mesh"),
    "image": ("video", "sound", "image", "mesh"),
    "video": ("video", "sound"),
}
"""Output types that each mode can give, through one pipeline or another. The video of inverse dynamics is a round trip
of its input."""

NOT_COSMOS3 = (("text", "mesh"), ("image", "mesh"), ("image", "image"))
"""Of these, what Cosmos 3 never gives."""

_WHY_NOT = {
    ("forward_dynamics", "action"): "there the action chunk is an input",
    **{(mode, "sound"): "the action modes make no sound" for mode in (*ACTION_MODES, "closed_loop")},
}


def check(config: RunConfig, *, explicit_output: bool = False) -> None:
    """Refuse combinations that cannot work; `explicit_output` says that the user named the outputs."""
    mode = config.condition.mode.value
    _check_outputs(config, mode, explicit_output)
    _check_model(config)
    _check_loop(config, mode)
    if isinstance(config.condition, ClosedLoopConfig):
        _check_width(config)
    elif isinstance(config.condition, ActionConditionConfig):
        check_trained(config)
    elif isinstance(config.condition, WorldConditionConfig):
        if config.prompt is None:
            raise ConfigError(f"condition={mode} needs a prompt: add 'prompt=\"what happens in the video\"'.")
        if mode == "video" and config.condition.num_frames == 1:
            raise ConfigError(
                "condition=video cannot give one frame. Use condition=text condition.num_frames=1 for an image."
            )
    if mode not in ("text",) and config.observation is None:
        raise ConfigError(
            f"condition={mode} needs an observation: add observation=FILE or observation=sample:push_left."
        )
    if config.model.offload.value != "none" and config.model.device == "cpu":
        raise ConfigError(
            f"model.offload={config.model.offload.value} moves weights to an accelerator, but model.device=cpu. "
            "Use model.offload=none, or model.device=cuda."
        )


def require_domain(config: RunConfig) -> None:
    """Refuse an action condition of a custom model whose domain nobody chose: the default is the embedded model's."""
    if isinstance(config.condition, ActionConditionConfig):
        raise ConfigError(
            "model=custom does not say which embodiment its actions are of. Add domain=NAME; strands-diffusers domains lists them."
        )


def _check_outputs(config: RunConfig, mode: str, explicit: bool) -> None:
    cosmos3 = config.model.pipeline == COSMOS3
    gives = tuple(name for name in GIVES[mode] if not (cosmos3 and (mode, name) in NOT_COSMOS3))
    impossible = [name for name in config.output if name in OUTPUT_TYPES and name not in gives]
    condition = config.condition
    if isinstance(condition, WorldConditionConfig) and explicit and cosmos3:
        one_frame = getattr(condition, "num_frames", None) == 1
        if not condition.sound and "sound" in config.output:
            raise ConfigError("output=[sound] needs condition.sound=true (and a checkpoint with sound).")
        if "mesh" in config.output:
            raise ConfigError(
                f"output=[mesh] cannot come from {COSMOS3}. Use model=custom with a pipeline that makes meshes."
            )
        if "image" in config.output and mode == "text" and not one_frame:
            raise ConfigError("output=[image] needs condition.num_frames=1; more frames are a video: output=[video].")
        if "video" in config.output and one_frame:
            raise ConfigError("condition.num_frames=1 gives an image, not a video. Use output=[image].")
    if impossible and explicit:
        name = impossible[0]
        why = _WHY_NOT.get((mode, name), f"{mode} gives {', '.join(gives)}")
        others = [m for m, types in GIVES.items() if name in types and not (cosmos3 and (m, name) in NOT_COSMOS3)]
        instead = f", or condition={' or '.join(others)}" if others else ""
        raise ConfigError(
            f"output=[{name}] cannot come from condition={mode}: {why}. Use output=[{gives[0]}]{instead}."
        )


def _check_model(config: RunConfig) -> None:
    model = config.model
    if model.name == EMBEDDED and model.repo != EMBEDDED_REPO:
        raise ConfigError(
            f"model=cosmos3_pusht is the embedded model; its weights are not chosen. For {model.repo!r} use "
            f"model=custom model.repo={model.repo} (or model=cosmos3_nano model.repo=DIR for a local copy of Nano)."
        )
    if re.search(r"cosmos[-_]?3[^/]*[-_]policy([-_/@]|$)", model.repo, re.IGNORECASE):
        raise ConfigError(
            f"model.repo={model.repo}: the Policy checkpoints of Cosmos 3 give other actions than the domains of diffusers "
            "(DROID's: 8 absolute joint positions with a state row, in chunks of 32), which its pipeline would misread "
            "as end-effector columns. Use model=cosmos3_nano domain=droid."
        )
    _check_sizes(config)


def _check_sizes(config: RunConfig) -> None:
    """Refuse a canvas that the model was not trained on, and sound of a model that makes none."""
    model, condition = config.model, config.condition
    known = f"model={model.name} was trained on resolution tiers {' and '.join(map(str, model.tiers or ()))} only"
    if isinstance(condition, ActionConditionConfig):
        tier = condition.resolution_tier
        if model.tiers and tier not in (None, *model.tiers):
            raise ConfigError(f"{known}, not on {tier}. Use condition.resolution_tier={model.tiers[-1]} or null.")
    elif isinstance(condition, WorldConditionConfig):
        if condition.sound and not model.sound:
            raise ConfigError(f"model={model.name} makes no sound. Use condition.sound=false, or model=cosmos3_nano.")
        preset, largest = recommended(config), max(model.tiers or (0,))
        height, width = condition.height or preset.height, condition.width or preset.width
        if height and width and largest and height * width > largest * largest * 16 / 9:
            raise ConfigError(
                f"{known}, and {height}x{width} pixels are more. "
                f"Use condition.height={preset.height or 480} condition.width={preset.width or 832}."
            )


def _check_width(config: RunConfig) -> domains.Domain:
    known = config.domain.facts
    if known.width is None:
        raise ConfigError(f"domain {known.name!r} has no action width in diffusers, which refuses it in every mode.")
    return known


def check_trained(config: RunConfig) -> None:
    """Refuse a domain, a view and a chunk size that the model was not trained on. Raises: `ConfigError`."""
    model, domain, known = config.model, config.domain, _check_width(config)
    if model.domains is not None and known.short not in model.domains:
        raise ConfigError(
            f"model={model.name} was trained on domain {', '.join(model.domains)} only, not on {known.short}. "
            f"Use domain={model.domains[0]}, or another model: model=cosmos3_nano domain={known.short}."
        )
    view = domain.view_point.value
    if model.domains is not None and known.view_point not in (None, view):
        raise ConfigError(
            f"model={model.name} was trained on domain {known.short} as {known.view_point}, not as {view}. "
            f"Use domain.view_point={known.view_point}, or a checkpoint of your own: model=custom model.repo=DIR."
        )
    chunk = chunk_size(config)
    if model.chunk_sizes is not None and chunk not in model.chunk_sizes:
        sizes = " or ".join(map(str, model.chunk_sizes))
        raise ConfigError(
            f"model={model.name} was trained on chunks of {sizes} steps, not {chunk}. Use condition.chunk_size={sizes}."
        )
    if chunk % 4:
        where = "condition" if chunk != domain.chunk_size else "domain"
        below, above = chunk // 4 * 4, (chunk // 4 + 1) * 4
        raise ConfigError(
            f"{where}.chunk_size={chunk} is not a multiple of 4: the video autoencoder packs 4 frames into one, so the video "
            f"would not be chunk_size + 1 frames long. Use condition.chunk_size={f'{below} or {above}' if below else above}."
        )
    if model.pixel_map and known.name != "pusht":
        raise ConfigError(
            f"model.pixel_map is a convention of pusht actions; domain {known.short} has none. Use model.pixel_map=false."
        )


def _check_loop(config: RunConfig, mode: str) -> None:
    """What the closed loop alone has, and what it has not."""
    if isinstance(condition := config.condition, ClosedLoopConfig):
        size = chunk_size(config)
        if condition.act_steps is not None and condition.act_steps > size:
            raise ConfigError(
                f"condition.act_steps={condition.act_steps} is more than a chunk of {size} steps. "
                f"Use condition.act_steps={size} or fewer, or a larger condition.chunk_size."
            )
        for name in ("num_inference_steps", "guidance_scale", "flow_shift"):
            if (value := getattr(config.sampler, name)) is not None:
                raise ConfigError(
                    f"sampler.{name} has no meaning in a closed loop, where policy and world each have their own. "
                    f"Type policy.sampler.{name}={value:g} or world.sampler.{name}={value:g}."
                )
        return
    for group, chosen in (("policy", config.policy), ("world", config.world)):
        if chosen.name != "model" or chosen != type(chosen)(name="model"):
            given = f"{group}={chosen.name}" if chosen.name != "model" else f"the options of {group}=model"
            raise ConfigError(
                f"{given} need{'s' * (chosen.name != 'model')} condition=closed_loop; condition={mode} uses no {group}."
            )
    if config.score:
        raise ConfigError(
            f"score=[{','.join(config.score)}] needs condition=closed_loop; condition={mode} has no episode to judge."
        )


def chunk_size(config: RunConfig) -> int:
    """The chunk size T [steps] that the run will use: the condition's, else the domain's."""
    condition = config.condition
    assert isinstance(condition, ActionConditionConfig)
    return config.domain.chunk_size if condition.chunk_size is None else condition.chunk_size


def recommended(config: RunConfig, mode: str | None = None) -> Recommended:
    """The model's recommended values for this condition, or another mode; empty where its preset says nothing."""
    table, mode = config.model.recommended, mode or config.condition.mode.value
    unknown = set(table) - {*GIVES, "text_to_image", *(d.short for d in domains.all_domains())}
    if unknown:
        name = sorted(unknown)[0]
        raise ConfigError(f"model.recommended.{name} is no condition; use {', '.join(GIVES)}.{near_miss(name, GIVES)}")
    if mode in ACTION_MODES:
        return table.get(config.domain.facts.short) or table.get(mode) or Recommended()
    if mode == "text" and config.condition.num_frames == 1:  # type: ignore[attr-defined]
        return table.get("text_to_image") or table.get("text") or Recommended()
    return table.get(mode) or Recommended()


def resolve_defaults(config: RunConfig) -> RunConfig:
    """Fill every null that a preset answers, so that manifests and hashes hold what really runs."""
    condition = config.condition
    if isinstance(condition, ClosedLoopConfig):
        size = chunk_size(config)
        condition = dataclasses.replace(condition, chunk_size=size, act_steps=condition.act_steps or size)
        modes = {"policy": "policy", "world": "forward_dynamics", "policy.predict": "forward_dynamics"}
        for group, mode in modes.items():
            config = changed(config, [*group.split("."), "sampler"], partial(_filled, recommended(config, mode)))
        return dataclasses.replace(config, condition=condition)
    preset = recommended(config)
    if isinstance(condition, ActionConditionConfig):
        condition = dataclasses.replace(condition, chunk_size=chunk_size(config))
    observation = None if condition.mode.value == "text" else config.observation
    return dataclasses.replace(
        config,
        sampler=_filled(preset, config.sampler),
        condition=_filled(preset, condition),
        observation=observation,
    )


def _filled(preset: Recommended, node: T) -> T:
    """A sampler's or a condition's node with the preset's values where it has none."""
    if not isinstance(node, DenoisingConfig | WorldConditionConfig):
        return node
    empty = [name for name in vars(preset) if getattr(node, name, "") is None]
    return dataclasses.replace(node, **{name: getattr(preset, name) for name in empty})
