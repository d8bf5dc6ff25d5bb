"""From a config and an observation to what diffusers' pipeline is given, and the exact frame transform it applies.

Two steps, so that everything that can be refused is refused before the weights load: `prepare` needs no torch and
checks the request against the observation and the checkpoint's config files; `build` needs the loaded pipeline and
makes the arguments of its call.

Letters: K chunks, T steps of a chunk, D action width, F frames, H height, W width.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from strands_diffusers import actions, domains
from strands_diffusers.config import checks
from strands_diffusers.config.schema import (
    ACTION_MODES,
    ActionConditionConfig,
    ForwardDynamicsConfig,
    ImageConfig,
    RunConfig,
    VideoConfig,
    WorldConditionConfig,
)
from strands_diffusers.errors import ActionError, ConfigError, ModelError, ObservationError
from strands_diffusers.observations import action_files, scenes
from strands_diffusers.pipelines import checkpoint
from strands_diffusers.results import ActionSpace, Observation, ObservationRequest

if TYPE_CHECKING:
    from PIL.Image import Image

    from strands_diffusers.pipelines.loader import WorldModel

COSMOS3 = "Cosmos3OmniPipeline"
TEMPORAL_FACTOR = 4
"""Frames that the Wan autoencoder packs into one latent frame, after the first."""


@dataclass(frozen=True)
class Prepared:
    """A checked request: what is asked of the model, before the model is there."""

    mode: str
    prompt: str
    observation: Observation
    space: ActionSpace | None = None
    num_chunks: int = 1
    chunk_size: int = 0
    given_action_KTD: np.ndarray | None = None
    """What drives forward dynamics, after `condition.perturb`."""
    reference_action_KTD: np.ndarray | None = None
    """The true actions: of the observation; in forward dynamics those before the perturbation, where there is one."""
    frames_FHWC: np.ndarray | None = None
    """The frames that the condition and its reference use, at most K*T + 1 in the action modes."""
    notes: tuple[str, ...] = ()
    """What speaks against the request without ruling it out, a line each: said before it runs, kept in the record."""


def observation_request(config: RunConfig) -> ObservationRequest:
    """What the job needs of its observation."""
    condition, mode = config.condition, config.condition.mode.value
    if isinstance(condition, ActionConditionConfig):
        frames = condition.num_chunks * checks.chunk_size(config) + 1
        return ObservationRequest(frames, config.domain.fps, config.domain.name, mode, action_space(config))
    if isinstance(condition, VideoConfig):
        needed = TEMPORAL_FACTOR * max(condition.condition_frames) + 1
        return ObservationRequest(needed if condition.keep.value == "first" else None, condition.fps, None, mode)
    return ObservationRequest(1, None, None, mode)


def action_space(config: RunConfig) -> ActionSpace:
    """What the numbers of an action chunk mean under this config."""
    domain = config.domain
    return ActionSpace(
        domains.get(domain.name).name,
        domain.statistics,
        domain.normalization.value,
        domain.gripper.value,
        config.model.pixel_map,
    )


def prepare(config: RunConfig, observation: Observation) -> Prepared:
    """Check the request against the observation and the checkpoint's own config files; nothing is loaded.

    Raises: a `RequestError` for whatever cannot work.
    """
    condition, mode = config.condition, config.condition.mode.value
    _check_checkpoint(config, mode)
    prompt = config.prompt if config.prompt is not None else observation.task or ""
    if isinstance(condition, WorldConditionConfig):
        return _with_notes(config, _prepare_world(condition, mode, prompt, observation))
    return _with_notes(config, _prepare_action(config, mode, prompt, observation))


def _with_notes(config: RunConfig, prepared: Prepared) -> Prepared:
    """Add a note where the first frame does not look like the scene that the model was trained on."""
    frames, scene = prepared.frames_FHWC, config.model.scene
    words = None if frames is None or scene is None else scenes.doubt(scene, frames[0])
    if words is None:
        return prepared
    source = prepared.observation.source
    what = f"observation {source}" if source else "the observation"
    note = (
        f"{what} does not look like what model={config.model.name} was trained on ({words}): "
        "its future will mean little. Use observation=sample:push_left, or another model=."
    )
    return replace(prepared, notes=(*prepared.notes, note))


def _prepare_action(config: RunConfig, mode: str, prompt: str, observation: Observation) -> Prepared:
    condition = config.condition
    assert isinstance(condition, ActionConditionConfig)
    if mode == "policy" and not prompt.strip():
        raise ConfigError(
            "condition=policy needs a task: add 'prompt=\"Put the pot to the left.\"'; the observation holds none."
        )
    if observation.frames is None:
        raise ObservationError(f"observation {observation.source} holds actions only; condition={mode} needs frames.")
    steps = condition.num_chunks * checks.chunk_size(config)
    if mode == "inverse_dynamics" and len(observation.frames) < steps + 1:
        raise ObservationError(
            f"observation {observation.source} has {len(observation.frames)} frames; inverse dynamics over "
            f"{steps} steps needs {steps + 1}. Use a longer clip or condition.chunk_size={_fitting(len(observation.frames))}."
        )
    space = action_space(config)
    if space.statistics:
        actions.load_statistics(space.statistics, space.domain)
    shape = (condition.num_chunks, checks.chunk_size(config), -1)
    given = _given_actions(condition, observation, space, steps) if mode == "forward_dynamics" else None
    reference = None
    if given is not None and condition.perturb.value != "none":  # type: ignore[attr-defined]
        reference, given = given, actions.perturbed(given, condition.perturb.value, space)  # type: ignore[attr-defined]
    if mode != "forward_dynamics" and observation.actions is not None and len(observation.actions) >= steps:
        reference = _checked(observation.actions, f"observation {observation.source}", space)[:steps]
    return Prepared(
        mode=mode,
        prompt=prompt,
        observation=observation,
        space=space,
        num_chunks=condition.num_chunks,
        chunk_size=checks.chunk_size(config),
        given_action_KTD=None if given is None else given.reshape(shape),
        reference_action_KTD=None if reference is None else reference.reshape(shape),
        frames_FHWC=observation.frames[: steps + 1],
    )


def _fitting(num_frames: int) -> int:
    return max(4, (num_frames - 1) // 4 * 4)


def _checked(value: Any, what: str, space: ActionSpace) -> np.ndarray:
    """Model-space actions [T, D], or an `ActionError` that says where they came from."""
    try:
        return actions.check_actions(value, space.domain, space=space)
    except ActionError as error:
        raise ActionError(f"{what}: {error}") from error


def _given_actions(
    condition: ActionConditionConfig, observation: Observation, space: ActionSpace, steps: int
) -> np.ndarray:
    """The [steps, D] model-space actions that drive forward dynamics. A short file is refused: diffusers would repeat its last row."""
    assert isinstance(condition, ForwardDynamicsConfig)
    if condition.actions is not None:
        value, what = action_files.read_actions(Path(condition.actions)), f"action file {condition.actions}"
    elif observation.actions is not None:
        value, what = observation.actions, f"observation {observation.source}"
    else:
        raise ActionError(
            f"condition=forward_dynamics needs actions and observation {observation.source} holds none. "
            "Add condition.actions=FILE.json (nested lists [T][D] in model space)."
        )
    chunk_TD = _checked(value, what, space)
    if len(chunk_TD) < steps:
        raise ActionError(
            f"{what} has {len(chunk_TD)} steps; the rollout needs {steps}. "
            f"Use condition.chunk_size={max(4, len(chunk_TD) // 4 * 4)}, or give more actions."
        )
    return chunk_TD[:steps]


def _prepare_world(condition: WorldConditionConfig, mode: str, prompt: str, observation: Observation) -> Prepared:
    frames = observation.frames
    if mode in ("image", "video") and frames is None:
        raise ObservationError(f"observation {observation.source} holds actions only; condition={mode} needs frames.")
    if isinstance(condition, VideoConfig):
        assert frames is not None
        needed = TEMPORAL_FACTOR * max(condition.condition_frames) + 1
        if len(frames) < needed:
            raise ObservationError(
                f"observation {observation.source} has {len(frames)} frames; condition.condition_frames="
                f"{condition.condition_frames} needs {needed}. Use a longer clip or condition.condition_frames=[0]."
            )
        frames = frames[:needed] if condition.keep.value == "first" else frames[-needed:]
    elif isinstance(condition, ImageConfig):
        assert frames is not None
        frames = frames[:1]
    else:
        frames = None
    return Prepared(mode=mode, prompt=prompt, observation=observation, frames_FHWC=frames)


def _check_checkpoint(config: RunConfig, mode: str) -> None:
    """What a local checkpoint's config files rule out."""
    location = checkpoint.locate(config.model)
    name = config.model.pipeline
    facts: dict[str, Any] = {}
    if isinstance(location, Path):
        index = checkpoint.inspect(location)
        saved = index.get("_class_name")
        if name is None or (config.model.name != "custom" and saved != name):
            if name is not None:
                raise ModelError(f"{location} is a {saved}, not a {name}. Use model=custom model.repo={location}.")
            name = saved
        facts = checkpoint.component_config(location, "transformer")
        silent = not facts.get("sound_gen") or not (index.get("sound_tokenizer") or [None])[0]
        if name == COSMOS3 and getattr(config.condition, "sound", False) and silent:
            raise ModelError(f"condition.sound=true, but the checkpoint {location} was saved without sound.")
    if mode in ACTION_MODES and name is not None:
        if name != COSMOS3:
            raise ModelError(
                f"condition={mode} needs {COSMOS3}; {name} has no actions. Use condition=text, image or video."
            )
        width = domains.get(config.domain.name).width or 0
        if facts and (not facts.get("action_gen") or width > (facts.get("action_dim") or 0)):
            raise ModelError(
                f"the checkpoint {location} has action width {facts.get('action_dim') if facts.get('action_gen') else 0}; "
                f"domain {domains.short_name(config.domain.name)} needs {width}."
            )


# ------------------------------------------------------------------------------------------- the frame transform


@dataclass(frozen=True)
class Canvas:
    """What the pipeline does to a frame in an action run: resize, downscale into the canvas, pad, and keep whole cells."""

    resized: tuple[int, int]
    """(H, W) after rounding down to the autoencoder's spatial factor: the aspect changes slightly."""

    canvas: tuple[int, int]
    """(H, W) that the model is conditioned on, padded right and below."""

    content: tuple[int, int]
    """(H, W) of the frame inside the canvas."""

    output: tuple[int, int]
    """(H, W) of the video that comes out: whole latent cells of the content."""


def canvas_for(height: int, width: int, tier: int, factor: int) -> Canvas:
    """The canvas of an H x W frame at a resolution tier. `factor`: the autoencoder's spatial factor (16 for Nano).

    Source: `Cosmos3OmniPipeline._prepare_action_video_conditioning`; a contract test compares with it.
    """
    from diffusers.pipelines.cosmos import pipeline_cosmos3_omni as source
    from diffusers.video_processor import VideoProcessor

    bins = source._ACTION_RESOLUTION_BINS[str(tier)]
    resized = (height - height % factor, width - width % factor)
    canvas_h, canvas_w = VideoProcessor.classify_height_width_bin(*resized, ratios=bins)
    scale = min(canvas_w / resized[1], canvas_h / resized[0], 1.0)
    content = (max(1, int(scale * resized[0] + 0.5)), max(1, int(scale * resized[1] + 0.5)))
    cells = (max(content[0] // factor, 1), max(content[1] // factor, 1))
    return Canvas(resized, (canvas_h, canvas_w), content, (cells[0] * factor, cells[1] * factor))


def default_tier(height: int, width: int, factor: int) -> int:
    """The smallest tier that needs no downscaling, else 480."""
    for tier in (256, 480, 704, 720):
        canvas = canvas_for(height, width, tier, factor)
        if canvas.content == canvas.resized:
            return tier
    return 480


def transform(frames_FHWC: np.ndarray, pipe: Any, canvas: Canvas) -> np.ndarray:
    """Frames as the pipeline itself would show them: uint8 [F, H, W, 3] of the rollout's size.

    A reference goes through this before it is compared, handed over to the next chunk, shown or exported.
    """
    import torch
    import torch.nn.functional as functional

    frames = pipe.video_processor.preprocess_video(to_pil(frames_FHWC))[0].transpose(0, 1)  # [F, 3, H, W] in [-1, 1]
    if tuple(frames.shape[-2:]) != canvas.content:
        frames = functional.interpolate(
            frames, size=canvas.content, mode="bicubic", align_corners=False, antialias=True
        )
    height, width = canvas.output
    shown = frames[:, :, :height, :width].float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return np.asarray(shown.permute(0, 2, 3, 1).contiguous().numpy())


def to_pil(frames_FHWC: np.ndarray) -> list[Image]:
    """uint8 frames as the PIL images that diffusers takes as its canonical input."""
    from PIL import Image

    return [Image.fromarray(frame) for frame in frames_FHWC]


# ------------------------------------------------------------------------------------------ the pipeline's arguments


@dataclass(frozen=True)
class Built:
    """A pipeline call, ready but for its seed."""

    arguments: dict[str, Any]
    canvas: Canvas | None = None
    resolved: dict[str, Any] = field(default_factory=dict)
    """Values decided here (tier, frame size): recorded in the manifest."""


def build_chunk(
    config: RunConfig, prepared: Prepared, model: WorldModel, chunk: int, first_frame_HWC: np.ndarray | None
) -> Built:
    """The call of action chunk `chunk` (0-based). `first_frame_HWC`: the frame handed over by the chunk before."""
    import torch
    from diffusers import CosmosActionCondition

    condition = config.condition
    assert isinstance(condition, ActionConditionConfig)
    assert prepared.frames_FHWC is not None
    assert prepared.space is not None
    size = prepared.chunk_size
    clip = (
        prepared.frames_FHWC[chunk * size : (chunk + 1) * size + 1]
        if prepared.mode == "inverse_dynamics"
        else prepared.frames_FHWC[:1]
    )
    height, width = clip.shape[1:3]
    factor = int(model.pipe.vae_scale_factor_spatial)
    if min(height, width) < factor:
        raise ObservationError(f"frames of {width}x{height} are smaller than one latent cell ({factor}x{factor}).")
    tier = condition.resolution_tier or default_tier(height, width, factor)
    canvas = canvas_for(height, width, tier, factor)
    if first_frame_HWC is not None and prepared.mode != "inverse_dynamics":
        clip = first_frame_HWC[None]
    given = (
        None
        if prepared.given_action_KTD is None
        else torch.from_numpy(np.array(prepared.given_action_KTD[chunk], np.float32))
    )
    action = CosmosActionCondition(
        mode=prepared.mode,
        chunk_size=size,
        domain_name=prepared.space.domain,
        resolution_tier=tier,
        raw_actions=given,
        view_point=config.domain.view_point.value,
        **({"video": to_pil(clip)} if prepared.mode == "inverse_dynamics" else {"image": to_pil(clip)[0]}),
    )
    arguments: dict[str, Any] = {
        "prompt": prepared.prompt,
        "action": action,
        "fps": float(config.domain.fps),
        "use_system_prompt": False,
        **_sampler_arguments(config),
    }
    return Built(arguments, canvas, {"resolution_tier": tier, "height": canvas.output[0], "width": canvas.output[1]})


def build_world(config: RunConfig, prepared: Prepared, model: WorldModel) -> Built:
    """The call of a text, image or video condition, for Cosmos 3 or any other diffusers pipeline."""
    condition = config.condition
    assert isinstance(condition, WorldConditionConfig)
    wanted: dict[str, Any] = {
        "prompt": prepared.prompt,
        "negative_prompt": condition.negative_prompt,
        "num_frames": condition.num_frames,
        "height": condition.height,
        "width": condition.width,
        "fps": condition.fps,
        "enable_sound": condition.sound or None,
        "use_system_prompt": condition.system_prompt,
        **_sampler_arguments(config),
    }
    if isinstance(condition, ImageConfig):
        assert prepared.frames_FHWC is not None
        wanted["image"] = to_pil(prepared.frames_FHWC)[0]
    elif isinstance(condition, VideoConfig):
        assert prepared.frames_FHWC is not None
        wanted["video"] = to_pil(prepared.frames_FHWC)
        wanted["condition_frame_indexes_vision"] = list(condition.condition_frames)
        wanted["condition_video_keep"] = condition.keep.value
    given = {name: value for name, value in wanted.items() if value is not None}
    if model.pipeline == COSMOS3:
        return Built(given)
    return Built(_fit_signature(given, model, condition))


_ALIASES = {
    "fps": ("fps", "frame_rate"),
    "num_frames": ("num_frames", "video_length"),
    "image": ("image", "image_reference"),
}
_OPTIONAL = {"fps", "condition_frame_indexes_vision", "condition_video_keep"}
"""Left out in silence where a pipeline has no such argument: `fps` then only sets the rate of the written video."""


def _fit_signature(given: dict[str, Any], model: WorldModel, condition: WorldConditionConfig) -> dict[str, Any]:
    """Only the arguments that the pipeline's call takes; one that the user asked for and it lacks is a `ModelError`."""
    parameters = inspect.signature(type(model.pipe).__call__).parameters
    fitted: dict[str, Any] = {}
    for name, value in given.items():
        target = next((alias for alias in _ALIASES.get(name, (name,)) if alias in parameters), None)
        if target:
            fitted[target] = value
        elif name in _OPTIONAL or (name == "num_frames" and value == 1):
            continue
        else:
            takes = ", ".join(
                p for p in parameters if p in given or p in ("image", "video", "num_frames", "height", "width")
            )
            raise ModelError(
                f"{model.pipeline} takes no {name!r}, which condition={condition.mode.value} gives it; of these it takes {takes}."
            )
    return fitted


def _sampler_arguments(config: RunConfig) -> dict[str, Any]:
    sampler = config.sampler
    pairs = {"num_inference_steps": sampler.num_inference_steps, "guidance_scale": sampler.guidance_scale}
    return {name: value for name, value in pairs.items() if value is not None}
