"""The memory that a request needs, roughly, worked out from its sizes and the checkpoint's own config files.

Nothing is loaded. The numbers are meant to be right within a factor of two: good enough to refuse what cannot fit before
minutes are spent on it, with the largest value that would. How long it takes is not estimated here: before steps were
timed nothing is known of the machine's speed. `runner.control` says it once they were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from strands_diffusers.config.conditions import TEMPORAL_FACTOR, ActionConditionConfig, WorldConditionConfig
from strands_diffusers.config.fields import TIERS, Offload
from strands_diffusers.config.models import COSMOS3
from strands_diffusers.config.schema import RunConfig
from strands_diffusers.errors import ConfigError
from strands_diffusers.pipelines import catalog, checkpoint, devices
from strands_diffusers.pipelines.checkpoint import Checkpoint
from strands_diffusers.pipelines.engine.exact import TOKENS_PER_BATCH
from strands_diffusers.pipelines.request import Request

GB = 1e9
NANO: dict[str, Any] = {"hidden_size": 4096, "intermediate_size": 12288, "latent_patch_size": 2}
NANO_VAE: dict[str, Any] = {"decoder_base_dim": 256, "dim_mult": (1, 2, 4, 4), "patch_size": 2}
"""Sizes of Cosmos3-Nano (its transformer/config.json and vae/config.json), taken for models on the Hub whose own are not known."""

VAE_WEIGHTS = 704_688_668
"""Numbers in the autoencoder of Cosmos 3; all others are the transformer's."""

EDGE: dict[str, Any] = {"hidden_size": 2048, "intermediate_size": 9216, "latent_patch_size": 2}
"""Sizes of Cosmos3-Edge, which has Nano's autoencoder. With 28 layers they make its 3.4 billion weights."""

FP8_SHARE = 0.55
"""Size of an 8-bit checkpoint beside bfloat16's: matrices in one byte, embeddings and autoencoder in two."""

PROGRAM_GB = 0.4
"""Resident memory of the program itself, with torch and diffusers imported, measured on Linux."""

ALIVE_CPU, ALIVE_ELSEWHERE = 40, 14
"""Tensors as large as one of the autoencoder's last stage that are alive together: on a CPU measured while the embedded
model decodes 512 to 768 pixels, in both precisions; elsewhere counted, the two inputs of a residual block being wider."""


Change = Callable[[int], tuple[RunConfig, Request]]


@dataclass(frozen=True)
class Needs:
    """Memory that a request needs [GB]."""

    weights_gb: float
    """All weights of the pipeline, in the precision they are loaded in."""

    activations_gb: float
    """Working memory of denoising or decoding, whichever is larger; 0 where nothing is known of the pipeline."""

    output_gb: float
    """Frames of all samples, which stay on the host until they are written."""

    largest_gb: float
    """The largest component, which has to be on the card as a whole with `model.offload=model`."""

    device: str
    """Where it computes, as far as is known before the load."""


def needs(config: RunConfig, request: Request) -> Needs:
    """Work out what a request needs. Weights are 0 where their size is known neither from files nor from the preset."""
    found = request.checkpoint
    assert found is not None
    device = found.device
    value_bytes = 4 if found.dtype_on(device) == "float32" else 2
    cosmos3 = (config.model.pipeline or COSMOS3) == COSMOS3
    weights = (config.model.weights_gb or 0) * GB / 2
    largest = max(weights - VAE_WEIGHTS, 0) if cosmos3 else weights / 2
    if found.local:
        parts = found.numbers.values()
        weights, largest = sum(parts), max(parts, default=0)
    repo = getattr(config.policy, "repo", None) if request.mode == "closed_loop" else None
    if repo and config.world.name == "model":  # two checkpoints of a kind: the policy's stays beside the world's
        other = checkpoint.locate(replace(found.model, repo=repo, revision=None))
        weights += sum(other.numbers.values()) if other.local else weights
    share = value_bytes * (FP8_SHARE if found.in_8_bits else 1)
    frames, pixels = _video(config, request)
    samples, copies = config.sampler.num_samples, 2 if request.num_chunks > 1 else 1
    frame_bytes = 3 * pixels * (1 if cosmos3 else 5)  # other pipelines return float32, which becomes uint8
    output = frames * (samples * copies * frame_bytes + 8 * 3 * pixels)  # metrics read one sample at a time as float64
    working = _working_bytes(config, request, found, frames, pixels, value_bytes) if cosmos3 else 0
    return Needs(weights * share / GB, working / GB, output / GB, largest * share / GB, device)


def check_fits(config: RunConfig, request: Request) -> Needs:
    """Work out what a request needs. Raises: `ConfigError` with the largest values that fit, where this does not."""
    found = needs(config, request)
    offload = config.model.offload
    what, needed, limit = _worst(offload, found)
    if needed <= limit:
        return found

    def largest(value: int, change: Change) -> int:
        low, high = 0, value
        while high - low > 1:
            middle = (low + high) // 2
            _, needed, limit = _worst(offload, needs(*change(middle)))
            low, high = (middle, high) if needed <= limit else (low, middle)
        return low

    instead = [
        f"{key}={_whole(key, value)}" for key, now, change in _knobs(config, request) if (value := largest(now, change))
    ]
    if not instead and found.device != "cpu":
        others = (Offload.model, Offload.sequential)
        instead = [f"model.offload={o.value}" for o in others if (now := _worst(o, found))[1] <= now[2]][:1]
    raise ConfigError(
        f"this needs about {_size(needed)} of memory (the program {_size(PROGRAM_GB)}, weights {_size(found.weights_gb)}, working memory "
        f"{_size(found.activations_gb)}, results {_size(found.output_gb)}), and {what} has {_size(limit)}. "
        + (f"Use {' or '.join(instead)}." if instead else "Use smaller frames, another model or a larger machine.")
    )


def _whole(key: str, value: int) -> int:
    """The next smaller number of frames that makes whole latent frames; any other value as it is."""
    return (value - 1) // TEMPORAL_FACTOR * TEMPORAL_FACTOR + 1 if key == "condition.num_frames" else value


def _video(config: RunConfig, request: Request) -> tuple[int, int]:
    """Frames and pixels of a frame of one sample's video; as small as they may be where the pipeline decides."""
    condition = config.condition
    if isinstance(condition, ActionConditionConfig):
        assert request.frames_FHWC is not None
        height, width = request.frames_FHWC.shape[1:3]
        tiers = config.model.tiers or TIERS
        tier = condition.resolution_tier or (480 if height * width > 720 * 1280 else max(tiers))
        return request.num_chunks * request.chunk_size + 1, min(height * width, tier * tier * 16 // 9)
    assert isinstance(condition, WorldConditionConfig)
    found = {"num_frames": condition.num_frames, "height": condition.height, "width": condition.width}
    name = config.model.pipeline or COSMOS3
    unknown = [key for key, value in found.items() if value is None]
    if unknown and name == COSMOS3:
        stated: dict[str, Any] = {"num_frames": 189, "height": 720, "width": 1280}
    else:
        known = name in catalog.pipelines() if unknown else False
        spec = catalog.pipeline_info(name)["call_params"] if known else {}
        stated = {key: int(text) if (text := spec.get(key, {}).get("default", "")).isdigit() else 1 for key in unknown}
    frames, height, width = (stated[key] if value is None else value for key, value in found.items())
    return frames, height * width


def _working_bytes(
    config: RunConfig, request: Request, found: Checkpoint, frames: int, pixels: int, value_bytes: int
) -> float:
    """The larger of what a layer of the transformer and the last stage of the autoencoder hold."""
    transformer, vae = EDGE if config.model.name == "cosmos3_edge" else NANO, NANO_VAE
    if found.local:
        transformer, vae = found.transformer, found.vae
    patch = vae.get("patch_size") or 1
    cell = patch * 2 ** (len(vae.get("dim_mult", (1, 2, 4, 4))) - 1) * transformer.get("latent_patch_size", 2)
    shown = request.chunk_size + 1 if request.chunk_size else frames  # a chunk at a time
    tokens = (1 + (shown - 1) // TEMPORAL_FACTOR) * math.ceil(pixels / cell**2) + request.chunk_size
    if found.device != "cpu":
        tokens = min(tokens * config.sampler.num_samples, max(tokens, TOKENS_PER_BATCH))
    width = 6 * transformer.get("hidden_size", 4096) + 3 * transformer.get("intermediate_size", 12288)
    base = vae.get("decoder_base_dim") or vae.get("base_dim", 96)
    alive = ALIVE_CPU if found.device == "cpu" else ALIVE_ELSEWHERE
    decoding = alive * pixels / patch**2 * min(shown, TEMPORAL_FACTOR) * base
    return float(value_bytes * max(tokens * width, decoding))


def _knobs(config: RunConfig, request: Request) -> Iterator[tuple[str, int, Change]]:
    """What may be made smaller: the key, its value now, and the request with another value."""
    sampler, condition = config.sampler, config.condition
    if sampler.num_samples > 1:
        name = "sampler.num_samples"
        yield name, sampler.num_samples, lambda n: (replace(config, sampler=replace(sampler, num_samples=n)), request)
    if request.num_chunks > 1:
        key = "condition.num_looks" if request.mode == "closed_loop" else "condition.num_chunks"
        yield key, request.num_chunks, lambda n: (config, replace(request, num_chunks=n))
    frames = condition.num_frames if isinstance(condition, WorldConditionConfig) else None
    if frames and frames > 1:
        changed = partial(replace, condition)
        yield "condition.num_frames", frames, lambda n: (replace(config, condition=changed(num_frames=n)), request)


def _worst(offload: Offload, found: Needs) -> tuple[str, float, float]:
    """The place that is the fullest: what it is called, what it needs and what it has [GB]."""
    host, device = _host_gb(), found.device
    if not device.startswith("cuda"):
        return "this machine", PROGRAM_GB + found.weights_gb + found.activations_gb + found.output_gb, host
    import torch

    on_card = {Offload.none: found.weights_gb, Offload.model: found.largest_gb}.get(offload, 0.0)  # else by layers
    total = devices.memory_bytes(device) / GB
    places = [
        (torch.cuda.get_device_name(device), found.activations_gb + on_card, total),
        ("this machine", PROGRAM_GB + found.output_gb + (0 if offload is Offload.none else found.weights_gb), host),
    ]
    return max(places, key=lambda place: place[1] / place[2])


def _host_gb() -> float:
    """Memory that this process may use [GB]."""
    return devices.memory_bytes("cpu") / GB


def _size(gb: float) -> str:
    if gb < 1:
        return f"{gb * 1000:.0f} MB"
    return f"{gb:.3g} GB" if gb < 1000 else f"{gb / 1000:,.3g} TB" if gb < 1e6 else f"{gb / 1e6:,.0f} PB"
