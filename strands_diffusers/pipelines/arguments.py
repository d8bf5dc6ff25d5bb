"""From a checked request and the loaded pipeline to the `Call` that an engine runs."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from strands_diffusers.config.models import COSMOS3
from strands_diffusers.config.schema import RunConfig
from strands_diffusers.pipelines import canvas as canvases
from strands_diffusers.pipelines.canvas import Canvas
from strands_diffusers.pipelines.engine import Call
from strands_diffusers.pipelines.request import Request, fit_arguments, world_arguments

if TYPE_CHECKING:
    from strands_diffusers.pipelines.loader import WorldModel


def chunk_call(
    config: RunConfig,
    request: Request,
    canvas: Canvas,
    chunk: int,
    handed_over_HWC: np.ndarray | None,
    wanted: frozenset[str],
    seeds: tuple[int, ...],
) -> Call:
    """The call of action chunk `chunk` (0-based). `handed_over_HWC`: the last frame of the chunk before, to start from."""
    import torch
    from diffusers import CosmosActionCondition

    assert request.frames_FHWC is not None
    assert request.space is not None
    first, given = chunk * request.chunk_size, request.given_action_KTD
    source: dict[str, Any]
    if request.mode == "inverse_dynamics":
        source = {"video": canvases.to_pil(request.frames_FHWC[first : first + request.chunk_size + 1])}
    else:
        frame_HWC = request.frames_FHWC[0] if handed_over_HWC is None else handed_over_HWC
        source = {"image": canvases.to_pil(frame_HWC[None])[0]}
    action = CosmosActionCondition(
        mode=request.mode,
        chunk_size=request.chunk_size,
        domain_name=request.space.domain,
        resolution_tier=canvas.tier,
        raw_actions=None if given is None else torch.from_numpy(np.array(given[chunk], np.float32)),
        view_point=config.domain.view_point.value,
        **source,
    )
    arguments: dict[str, Any] = {
        "prompt": request.prompt,
        "action": action,
        "fps": float(config.domain.fps),
        "use_system_prompt": False,
        **_sampler_arguments(config),
    }
    return Call(arguments, wanted, seeds)


def one_by_one(call: Call) -> Iterator[Call]:
    """A call of several action chunks as calls of one each."""
    import torch

    assert call.actions is not None
    for rows_TD, seed in zip(call.actions, call.seeds, strict=True):
        action = dataclasses.replace(call.arguments["action"], raw_actions=torch.from_numpy(rows_TD))
        yield dataclasses.replace(call, arguments={**call.arguments, "action": action}, seeds=(seed,), actions=None)


def world_call(
    config: RunConfig, request: Request, model: WorldModel, wanted: frozenset[str], seeds: tuple[int, ...]
) -> Call:
    """The call of a text, image or video condition, for Cosmos 3 or any other diffusers pipeline."""
    given = world_arguments(config, request) | _sampler_arguments(config)
    if "image" in given:
        given["image"] = canvases.to_pil(given["image"][None])[0]
    if "video" in given:
        given["video"] = canvases.to_pil(given["video"])
    if model.pipeline != COSMOS3:
        takes = inspect.signature(type(model.pipe).__call__).parameters
        given = fit_arguments(given, takes, model.pipeline, request.mode)
    return Call(given, wanted, seeds)


def _sampler_arguments(config: RunConfig) -> dict[str, Any]:
    sampler = config.sampler
    pairs = {"num_inference_steps": sampler.num_inference_steps, "guidance_scale": sampler.guidance_scale}
    return {name: value for name, value in pairs.items() if value is not None}
