"""Pipelines to time: random weights, true shapes. Nothing is downloaded."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2] / "tests"))  # the builder that the tests use

NANO = {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32}
NANO |= {"num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "rope_axes_dim": [24, 20, 20]}
"""The transformer of Cosmos3-Nano, 16B parameters."""

DRY = {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 2}
DRY |= {"num_key_value_heads": 1, "head_dim": 32, "vocab_size": 512, "rope_axes_dim": [6, 5, 5]}
"""The same code path at a width that a laptop runs, to see that the command is ready."""

NANO_VAE = {"base_dim": 160, "decoder_base_dim": 256, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2}
DRY_VAE = {"base_dim": 4, "decoder_base_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}


@dataclass(frozen=True)
class Size:
    """What is timed at one size."""

    frame_sizes: tuple[tuple[int, int], ...]
    """Height and width of the observation [pixels]."""
    tier: int
    chunk_size: int
    num_inference_steps: int
    repeats: int


SIZES = {
    "tiny": Size(((64, 80),), 256, 4, 3, 2),
    "small": Size(((240, 320),), 256, 16, 8, 3),
    "nano": Size(((480, 640), (480, 832)), 480, 16, 30, 3),
}


def build(name: str, device: str, dry: bool) -> Any:
    """Return the pipeline of one size on `device`."""
    from tiny_cosmos3 import make_tiny_cosmos3

    if name == "tiny":
        return make_tiny_cosmos3(vae="wan22").to(device)
    if name == "small":
        return make_tiny_cosmos3(hidden=256, layers=4, vae_base_dim=16, vae_dim_mult=(1, 2, 2, 2)).to(device)
    return _nano(device, DRY if dry else NANO, DRY_VAE if dry else NANO_VAE)


def _nano(device: str, transformer_config: dict[str, Any], vae_config: dict[str, Any]) -> Any:
    """Cosmos3-Nano with random weights, made on the device itself, in bf16."""
    import torch
    from diffusers import AutoencoderKLWan, Cosmos3OmniPipeline, Cosmos3OmniTransformer, UniPCMultistepScheduler
    from tiny_cosmos3 import WAN22, _tokenizer

    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            transformer = Cosmos3OmniTransformer(
                **transformer_config, latent_channel=48, patch_latent_dim=192, action_gen=True, action_dim=64
            )
            vae = AutoencoderKLWan(**vae_config, **WAN22, temperal_downsample=[False, True, True])
    finally:
        torch.set_default_dtype(before)
    transformer.time_embedder.float()  # as from_pretrained keeps it
    for head in (transformer.action_proj_in, transformer.action_proj_out):
        with torch.no_grad():
            head.fc.weight.mul_(head.input_size**-0.5)
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=10.0)
    parts = {
        "transformer": transformer.eval(),
        "vae": vae.eval(),
        "text_tokenizer": _tokenizer(),
        "scheduler": scheduler,
    }
    pipe = Cosmos3OmniPipeline(**parts, enable_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe
