"""The arguments of a pipeline's call, from a checked request and the loaded pipeline."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from strands_diffusers.config.schema import (
    ActionConditionConfig,
    ImageConfig,
    RunConfig,
    VideoConfig,
    WorldConditionConfig,
)
from strands_diffusers.errors import ModelError, ObservationError
from strands_diffusers.pipelines import canvas as canvases
from strands_diffusers.pipelines.condition import COSMOS3, Prepared

if TYPE_CHECKING:
    from strands_diffusers.pipelines.loader import WorldModel


@dataclass(frozen=True)
class Built:
    """A pipeline call, ready but for its seed."""

    arguments: dict[str, Any]
    canvas: canvases.Canvas | None = None
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
    tier = condition.resolution_tier or canvases.default_tier(height, width, factor)
    canvas = canvases.canvas_for(height, width, tier, factor)
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
        **(
            {"video": canvases.to_pil(clip)}
            if prepared.mode == "inverse_dynamics"
            else {"image": canvases.to_pil(clip)[0]}
        ),
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
        wanted["image"] = canvases.to_pil(prepared.frames_FHWC)[0]
    elif isinstance(condition, VideoConfig):
        assert prepared.frames_FHWC is not None
        wanted["video"] = canvases.to_pil(prepared.frames_FHWC)
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
