"""What a call conditions on: clean latent frames, given actions, and the sizes that follow from them.

`Cosmos3OmniPipeline.prepare_latents` encodes a whole clip and then overwrites with noise what does not conditioning. Here
only the frames that condition are preprocessed and encoded, once per content: one for a policy, forward dynamics or an
image; `4 * max(index) + 1` for a video; all for inverse dynamics; none for text.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from strands_diffusers.config.conditions import TEMPORAL_FACTOR
from strands_diffusers.memory import Memory
from strands_diffusers.pipelines.engine import wan
from strands_diffusers.pipelines.engine.denoiser import State
from strands_diffusers.pipelines.engine.layout import Layout
from strands_diffusers.pipelines.engine.memory import digest, kept
from strands_diffusers.plugin.engine import Call


@dataclass(frozen=True)
class Arguments:
    """The arguments of the pipeline's call that the engine reads, with the pipeline's own defaults."""

    prompt: str
    negative_prompt: str | None
    image: Any
    video: Any
    num_frames: int
    height: int
    width: int
    fps: float
    num_inference_steps: int
    guidance_scale: float
    enable_sound: bool
    action: Any
    """A `CosmosActionCondition`, or None."""
    condition_frame_indexes_vision: Sequence[int]
    condition_video_keep: str
    use_system_prompt: bool
    add_resolution_template: bool
    add_duration_template: bool
    enable_safety_check: bool


def read_arguments(pipe: Any, call: Call) -> Arguments:
    """Return the call's arguments with the pipeline's defaults, checked by the pipeline's own `check_inputs`."""
    bound = inspect.signature(type(pipe).__call__).bind(pipe, **call.arguments)
    bound.apply_defaults()
    found = bound.arguments
    if found["action"] is None:
        sizes = {"num_frames": 189, "height": 720, "width": 1280}
        found |= {name: size for name, size in sizes.items() if found[name] is None}
    names = ("prompt", "negative_prompt", "image", "height", "width", "num_frames", "guidance_scale", "enable_sound")
    pipe.check_inputs(
        *(found[name] for name in names),
        ["latents"],
        found["action"],
        video=found["video"],
        condition_frame_indexes_vision=found["condition_frame_indexes_vision"],
    )
    for name in ("prompt", "negative_prompt"):  # one sample per call: diffusers takes the first of a list
        if isinstance(found[name], list):
            found[name] = found[name][0]
    return Arguments(**{field.name: found[field.name] for field in fields(Arguments)})


class EncodedFrames(NamedTuple):
    """Encoded conditioning frames and the canvas they lie on."""

    latents: Tensor | None
    """float32 [1, C, frames that condition, h, w], cropped to the content; None where nothing conditions."""

    height: int
    """Canvas height [pixels], which the prompt names."""

    width: int
    """Canvas width [pixels]."""


@dataclass(frozen=True, eq=False)
class Conditioning:
    """All that a call's samples share."""

    layout: Layout
    frames: EncodedFrames
    num_frames: int
    actions: Tensor | None
    """float32 [1, A, D] or one chunk per sample [B, A, D]: the given actions, or zeros where they are drawn; None without
    actions."""
    action_width: int | None
    """Channels of the domain's actions, of the D that the model has."""
    domain: int | None
    """Index of the embodiment domain."""
    device: Any


def make_conditioning(
    pipe: Any, arguments: Arguments, device: Any, memory: Memory, given_BTD: Any = None
) -> Conditioning:
    """Work out what a call with these arguments conditions on; `given_BTD`: as `Call.actions`."""
    if arguments.action is not None:
        return _action_conditioning(pipe, arguments, device, memory, given_BTD)
    num_frames, height, width = arguments.num_frames, arguments.height, arguments.width
    if num_frames > 1 and arguments.video is not None:
        clean = tuple(sorted({int(index) for index in arguments.condition_frame_indexes_vision}))
    else:
        clean = (0,) if num_frames > 1 and arguments.image is not None else ()
    frames = EncodedFrames(None, height, width)
    if clean:
        needed, keep_last = 1 + TEMPORAL_FACTOR * max(clean), arguments.condition_video_keep != "first"
        source = arguments.image if arguments.video is None else leading(arguments.video, needed, from_end=keep_last)
        settings = (num_frames, height, width, clean, keep_last, arguments.video is None)
        encode = partial(_encode_world, pipe, arguments, source, clean, device)
        frames = kept(memory, [pipe.vae], _frames_key(pipe, device, source, settings), encode)
    sound = _sound_frames(pipe, arguments, num_frames)
    latent = (int(pipe.vae.config.z_dim), wan.latent_frames(num_frames), *wan.cells(pipe.vae, height, width))
    layout = Layout(latent, int(pipe.transformer.config.latent_patch_size), clean, sound_frames=sound)
    return Conditioning(layout, frames, num_frames, None, None, None, device)


def _action_conditioning(pipe: Any, arguments: Arguments, device: Any, memory: Memory, given_BTD: Any) -> Conditioning:
    from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import _EMBODIMENT_TO_DOMAIN_ID

    action = arguments.action
    num_frames, model_width = action.chunk_size + 1, int(pipe.transformer.action_dim)
    if action.raw_action_dim is not None and action.raw_action_dim > model_width:
        raise ValueError(
            f"raw_action_dim={action.raw_action_dim} exceeds the model's trained action_dim={model_width}."
        )
    count = wan.latent_frames(num_frames)
    inverse = action.mode == "inverse_dynamics"
    clean, needed = (tuple(range(count)), num_frames) if inverse else ((0,), 1)
    source = leading(action.video, needed) if action.image is None else [action.image]
    settings = (num_frames, action.resolution_tier, needed)
    encode = partial(_encode_action, pipe, action, source, needed, device)
    frames = kept(memory, [pipe.vae], _frames_key(pipe, device, source, settings), encode)
    assert frames.latents is not None
    _, channels, _, height, width = frames.latents.shape
    given = action.mode == "forward_dynamics"
    if given and given_BTD is not None:
        chunks = [torch.from_numpy(rows_TD) for rows_TD in given_BTD]
    else:
        chunks = [action.raw_actions] if given else []
    layout = Layout(
        (channels, count, height, width),
        int(pipe.transformer.config.latent_patch_size),
        clean,
        sound_frames=_sound_frames(pipe, arguments, num_frames),
        action_steps=action.chunk_size,
        actions_given=given,
    )
    actions = torch.zeros(max(1, len(chunks)), action.chunk_size, model_width, device=device)
    for chunk, into in zip(chunks, actions, strict=False):
        rows = chunk[: action.chunk_size].to(device=device, dtype=torch.float32)
        into[: len(rows), : rows.shape[1]] = rows
        into[len(rows) :, : rows.shape[1]] = rows[-1]  # a short chunk repeats its last action
    domain = _EMBODIMENT_TO_DOMAIN_ID[action.domain_name]
    return Conditioning(layout, frames, num_frames, actions, action.raw_action_dim, domain, device)


def _frames_key(pipe: Any, device: Any, source: Any, settings: tuple[Any, ...]) -> tuple[Any, ...]:
    return ("frames", digest([source]), settings, str(device), pipe.vae.use_tiling)


def _encode_action(pipe: Any, action: Any, clip: Any, needed: int, device: Any) -> EncodedFrames:
    """Encode the first `needed` frames of an action clip on its padded canvas, cropped to the content."""
    frames, size, height, width = pipe._prepare_action_video_conditioning(
        clip, action.resolution_tier, needed, device=device, dtype=torch.float32
    )
    latents = wan.encode(pipe, frames, wan.latent_frames(action.chunk_size + 1)).contiguous()
    _, _, content_height, content_width = (int(value) for value in size.tolist())
    rows = max(content_height // pipe.vae_scale_factor_spatial, 1)
    columns = max(content_width // pipe.vae_scale_factor_spatial, 1)
    return EncodedFrames(latents[..., :rows, :columns].contiguous(), height, width)


def _encode_world(pipe: Any, arguments: Arguments, source: Any, clean: tuple[int, ...], device: Any) -> EncodedFrames:
    """Encode the frames of an image or video condition up to the last latent frame that conditions."""
    from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import _preprocess_conditioning_image

    height, width, needed = arguments.height, arguments.width, 1 + TEMPORAL_FACTOR * max(clean)
    if arguments.video is None:
        frames = _preprocess_conditioning_image(source, height=height, width=width)
        frames = frames.to(device=device, dtype=torch.float32).unsqueeze(2)
    else:
        frames = pipe.video_processor.preprocess_video(source, height=height, width=width)
        frames = frames.to(device=device, dtype=torch.float32)
        frames = frames[:, :, :needed] if arguments.condition_video_keep == "first" else frames[:, :, -needed:]
        needed = min(needed, arguments.num_frames)
        frames = frames[:, :, :needed]
        missing = needed - frames.shape[2]
        frames = torch.cat([frames, frames[:, :, -1:].expand(-1, -1, missing, -1, -1)], dim=2)
    latents = wan.encode(pipe, frames.contiguous(), wan.latent_frames(arguments.num_frames)).contiguous()
    return EncodedFrames(latents, height, width)


def leading(clip: Any, count: int, *, from_end: bool = False) -> Any:
    """Cut a clip to the frames that are needed before they are preprocessed.

    Only a list of PIL images is cut: of arrays and tensors diffusers' preprocessing looks at the range of all frames.
    """
    from PIL import Image

    if isinstance(clip, list) and all(isinstance(frame, Image.Image) for frame in clip):
        return clip[-count:] if from_end else clip[:count]
    return clip


def _sound_frames(pipe: Any, arguments: Arguments, num_frames: int) -> int:
    """Sound tokens that cover the video; none where no sound is asked for."""
    if not arguments.enable_sound:
        return 0
    hop = int(pipe.sound_tokenizer._hop_size)
    samples = int(num_frames / arguments.fps * pipe.sound_tokenizer.config.sampling_rate)
    return (samples + hop - 1) // hop


def draw_latents(pipe: Any, conditioning: Conditioning, generators: list[Any], first: int = 0) -> State:
    """Draw the first latents of one sample per generator: noise where the model denoises, else what conditions.

    `first`: which sample of the call the first generator draws.
    Noise is drawn in diffusers' order: vision, then sound, then action.
    """
    layout, device = conditioning.layout, conditioning.device
    clean: Any = conditioning.frames.latents
    visions, sounds, actions = [], [], []
    for index, generator in enumerate(generators, first):
        visions.append(_noise((1, *layout.latent), generator, device))
        for frame in layout.clean_frames:
            visions[-1][:, :, frame] = clean[:, :, frame]
        if layout.sound_frames:
            shape = (int(pipe.transformer.config.sound_dim), layout.sound_frames)
            sounds.append(_noise(shape, generator, device))
        if conditioning.actions is not None:
            given_AD = conditioning.actions[index if len(conditioning.actions) > 1 else 0]
            noise = _noise(tuple(given_AD.shape), generator, device)
            drawn = given_AD.clone() if layout.actions_given else noise
            if conditioning.action_width is not None:
                drawn[:, conditioning.action_width :] = 0
            actions.append(drawn)
    return State(
        torch.cat(visions),
        torch.stack(sounds) if sounds else None,
        torch.stack(actions) if actions else None,
    )


def _noise(shape: tuple[int, ...], generator: Any, device: Any) -> Tensor:
    from diffusers.utils.torch_utils import randn_tensor

    return randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
