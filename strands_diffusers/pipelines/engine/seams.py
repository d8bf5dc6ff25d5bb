"""Every place where the engine depends on the inside of diffusers, in one list.

`USED` are private names that are called or read. `MIRRORED` is diffusers code whose arithmetic the engine repeats,
with a fingerprint of the source it was written and tested against. `changed` compares both with the installed diffusers:
where something moved, `exact` refuses (and `auto` uses `eager`), and a contract test fails, so that a developer and not
a user finds out.
"""

import functools
import hashlib
import importlib
import inspect
import textwrap
from typing import Any

PIPELINE = "diffusers.pipelines.cosmos.pipeline_cosmos3_omni"
TRANSFORMER = "diffusers.models.transformers.transformer_cosmos3"
WAN = "diffusers.models.autoencoders.autoencoder_kl_wan"

USED: dict[str, tuple[str, ...]] = {
    f"{PIPELINE}:Cosmos3OmniPipeline._get_execution_device": ("self",),
    f"{PIPELINE}:Cosmos3OmniPipeline._prepare_action_video_conditioning": (
        *("self", "conditioning_clip", "resolution_tier", "num_frames", "device", "dtype"),
    ),
    f"{PIPELINE}:_preprocess_conditioning_image": ("image", "height", "width"),
    f"{PIPELINE}:_EMBODIMENT_TO_DOMAIN_ID": (),
    f"{PIPELINE}:Cosmos3MixedPrecisionConfig.resolve": ("transformer",),
    f"{TRANSFORMER}:Cosmos3AttnProcessor._attention_backend": (),
    f"{TRANSFORMER}:Cosmos3AttnProcessor._parallel_config": (),
    f"{TRANSFORMER}:Cosmos3OmniTransformer._cp_shard_fn": (),
    f"{TRANSFORMER}:Cosmos3OmniTransformer._cp_gather_fn": (),
    f"{WAN}:WanEncoder3d.forward": ("self", "x", "feat_cache", "feat_idx"),
    f"{WAN}:WanDecoder3d.forward": ("self", "x", "feat_cache", "feat_idx", "first_chunk"),
    f"{WAN}:patchify": ("x", "patch_size"),
    f"{WAN}:unpatchify": ("x", "patch_size"),
}
"""Private names, and functions on no documented page, with the parameters they are called by."""

ATTRIBUTES = (
    "pipe._vae_latents_mean",
    "pipe._vae_latents_inv_std",
    "pipe.sound_tokenizer._hop_size",
    "module._hf_hook (accelerate)",
    "module._diffusers_hook (diffusers.hooks)",
    "pipe._all_hooks (model offloading)",
)
"""Private attributes of instances that are read, never written."""

MIRRORED: dict[str, str] = {
    f"{PIPELINE}:Cosmos3OmniPipeline.__call__": "07bbea4ddb360ba3",
    f"{PIPELINE}:Cosmos3OmniPipeline.prepare_latents": "3d4ee219626c73d6",
    f"{PIPELINE}:Cosmos3OmniPipeline._encode_video": "13517562d9263dc5",
    f"{PIPELINE}:Cosmos3OmniPipeline._prepare_text_segment": "cf8144bf1d3f0837",
    f"{PIPELINE}:Cosmos3OmniPipeline._prepare_vision_segment": "58a638f31c389878",
    f"{PIPELINE}:Cosmos3OmniPipeline._prepare_sound_segment": "cd25b5d2cf050dc4",
    f"{PIPELINE}:Cosmos3OmniPipeline._prepare_action_segment": "43c4f0ce5adfcccc",
    f"{PIPELINE}:Cosmos3OmniPipeline._remove_action_video_padding_from_latent": "19c960e811af0b8e",
    f"{PIPELINE}:Cosmos3OmniPipeline._mask_velocity_predictions": "c51d51262a908b71",
    f"{PIPELINE}:Cosmos3OmniPipeline._apply_video_safety_check": "f30235cd6203fae2",
    f"{TRANSFORMER}:Cosmos3OmniTransformer.forward": "200feee729c55c98",
    f"{TRANSFORMER}:Cosmos3OmniTransformer._apply_timestep_embeds_to_noisy_tokens": "0fb3948b1a9f60c9",
    f"{TRANSFORMER}:Cosmos3OmniTransformer._patchify_and_pack_latents": "962b36dd5a4b10b1",
    f"{TRANSFORMER}:Cosmos3OmniTransformer._unpatchify_and_unpack_latents": "66b9998807b5096b",
    f"{TRANSFORMER}:Cosmos3OmniTransformer._pack_sound_latents": "b07f326b790cb0d2",
    f"{TRANSFORMER}:Cosmos3OmniTransformer._unpack_sound_latents": "e79c1c3fb23e3b0a",
    f"{TRANSFORMER}:Cosmos3OmniTransformer._pack_action_latents": "a757867d38c8fd55",
    f"{TRANSFORMER}:Cosmos3OmniTransformer._unpack_action_latents": "e1aa583e2f8943b0",
    f"{TRANSFORMER}:Cosmos3OmniTransformer._run_decoder_stack": "9e832f69c5278a96",
    f"{TRANSFORMER}:Cosmos3VLTextMoTDecoderLayer.forward": "64ddd2a5e6382ac5",
    f"{TRANSFORMER}:Cosmos3VLTextMLP.forward": "690a9138bb2709c2",
    f"{TRANSFORMER}:Cosmos3AttnProcessor.__call__": "02730003f3abe5d5",
    f"{TRANSFORMER}:_rotate_half": "a5848fd5c2b9af2b",
    f"{TRANSFORMER}:DomainAwareLinear.forward": "9bdb29c340550985",
    f"{WAN}:AutoencoderKLWan._encode": "f844e37fcb9d8eed",
    f"{WAN}:AutoencoderKLWan._decode": "dbe1fa3c653e7727",
    "diffusers.schedulers.scheduling_unipc_multistep:UniPCMultistepScheduler.step": "e9f9143be262a42a",
    "diffusers.schedulers.scheduling_unipc_multistep:UniPCMultistepScheduler.convert_model_output": "bf686b3d91d9ee0b",
    "diffusers.schedulers.scheduling_unipc_multistep:UniPCMultistepScheduler.multistep_uni_p_bh_update": "9823d8f8dbdf6739",
    "diffusers.schedulers.scheduling_unipc_multistep:UniPCMultistepScheduler.multistep_uni_c_bh_update": "eb1b6c71cbb755b3",
}
"""Code that is repeated here, with the fingerprint of the source that it was tested against."""


def find(path: str) -> Any:
    """Return what `module:Class.name` stands for; AttributeError or ImportError where it is gone."""
    module, _, names = path.partition(":")
    return functools.reduce(getattr, names.split("."), importlib.import_module(module))


def fingerprint(function: Any) -> str:
    """Hash a function's source without comments, docstring and blank lines: what it does, not how it is explained."""
    function = inspect.unwrap(function)
    source = textwrap.dedent(inspect.getsource(function))
    doc = inspect.getdoc(function) and function.__doc__
    if doc:
        source = source.replace(doc, "", 1)
    lines = (line.rstrip() for line in source.splitlines())
    code = "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("#"))
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def mirrored_names(owner: type) -> set[str]:
    """Return the methods of `owner` that the engine repeats, besides `forward`, which accelerate may have wrapped."""
    names = {path.rpartition(".")[2] for path in MIRRORED if path.partition(":")[2].startswith(f"{owner.__name__}.")}
    return (names | {"encode", "decode"} if owner.__name__ == "AutoencoderKLWan" else names) - {"forward"}


@functools.cache
def changed() -> tuple[str, ...]:
    """Return the names that are gone or are not what the engine was tested against, in the installed diffusers."""
    return tuple(path for path in (*USED, *MIRRORED) if not _is_as_tested(path))


def _is_as_tested(path: str) -> bool:
    try:
        found = find(path)
        if path in MIRRORED:
            return fingerprint(found) == MIRRORED[path]
        return not USED[path] or set(USED[path]) <= set(inspect.signature(found).parameters) | {"self"}
    except (AttributeError, ImportError, OSError):  # OSError: the source is not there to be read
        return False
