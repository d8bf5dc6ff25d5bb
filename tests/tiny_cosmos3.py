"""Small random Cosmos 3 pipelines, built from diffusers' own classes, for tests and benchmarks: nothing is downloaded.

The weights are random, so the videos are noise; every shape, branch and file is that of a real checkpoint. Norm
weights, biases and modality embeddings are drawn too (diffusers initialises them to one and zero), so that a test
notices when two of them are swapped.
"""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

TASK = "Put the pot to the left of the purple item."

WAN21 = {"z_dim": 16, "scale_factor_spatial": 8}
"""The layout of Wan 2.1's VAE: 8x in space, 4x in time, plain blocks."""

WAN22 = {
    "z_dim": 48,
    "scale_factor_spatial": 16,
    "is_residual": True,
    "patch_size": 2,
    "in_channels": 12,
    "out_channels": 12,
    "latents_mean": [0.01 * i for i in range(48)],
    "latents_std": [1.0 + 0.02 * i for i in range(48)],
}
"""The layout of Wan 2.2's VAE, Cosmos3-Nano's: 16x in space (8x and a 2x2 patch), 4x in time, residual blocks."""


def make_tiny_cosmos3(
    *,
    hidden: int = 64,
    layers: int = 2,
    head_dim: int | None = None,
    hidden_act: str = "silu",
    qk_norm_for_text: bool = True,
    use_und_k_norm_for_gen: bool = False,
    latent_patch_size: int = 2,
    sound: bool = False,
    action_dim: int | None = 64,
    vae: str = "wan21",
    vae_base_dim: int = 4,
    vae_dim_mult: tuple[int, ...] = (1, 1, 1, 1),
    flow_shift: float = 10.0,
    seed: int = 0,
) -> Any:
    """Return a float32 `Cosmos3OmniPipeline` on the CPU with random weights, the same ones for the same arguments.

    `hidden_act="relu2"` makes the Nemotron backbone; `action_dim=None` leaves the action heads out; `vae` is `"wan21"`
    (8x in space) or `"wan22"` (16x, as Nano); `head_dim` is 32 below hidden 256 and 64 from there on.
    """
    import torch
    from diffusers import AutoencoderKLWan, Cosmos3OmniPipeline, Cosmos3OmniTransformer, UniPCMultistepScheduler

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head_dim = head_dim or (32 if hidden < 256 else 64)
        latent = WAN22 if vae == "wan22" else WAN21
        sound_dim = 8
        transformer = Cosmos3OmniTransformer(
            head_dim=head_dim,
            hidden_size=hidden,
            intermediate_size=hidden * 3,
            latent_channel=latent["z_dim"],
            latent_patch_size=latent_patch_size,
            patch_latent_dim=latent["z_dim"] * latent_patch_size**2,
            num_attention_heads=max(1, hidden // head_dim),
            num_key_value_heads=max(1, hidden // head_dim // 4),
            num_hidden_layers=layers,
            rope_axes_dim=[head_dim // 2 - 2 * (5 * head_dim // 32), 5 * head_dim // 32, 5 * head_dim // 32],
            vocab_size=512,
            hidden_act=hidden_act,
            qk_norm_for_text=qk_norm_for_text,
            use_und_k_norm_for_gen=use_und_k_norm_for_gen,
            action_gen=action_dim is not None,
            action_dim=action_dim,
            sound_gen=sound,
            sound_dim=sound_dim if sound else None,
        )
        wan = AutoencoderKLWan(
            base_dim=vae_base_dim,
            dim_mult=list(vae_dim_mult),
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
            **latent,
        )
        _draw(transformer)
        scheduler = UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=flow_shift, use_karras_sigmas=False
        )
        pipe = Cosmos3OmniPipeline(
            transformer=transformer.eval(),
            text_tokenizer=_tokenizer(),
            vae=wan.eval(),
            scheduler=scheduler,
            sound_tokenizer=_sound_tokenizer(sound_dim) if sound else None,
            enable_safety_checker=False,
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def build_tiny_cosmos3(folder: str | Path, **layout: Any) -> Path:
    """Write such a pipeline with `save_pretrained` and return its folder; `layout` as in `make_tiny_cosmos3`."""
    return Path(shutil.copytree(_saved(tuple(sorted(layout.items()))), folder, dirs_exist_ok=True))


@functools.cache
def _saved(layout: tuple[tuple[str, Any], ...]) -> str:
    """One folder of each layout, for as long as the process lives."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    make_tiny_cosmos3(**dict(layout)).save_pretrained(folder)
    return folder


def _draw(transformer: Any) -> None:
    """Draw what diffusers initialises to constants, and bring the domain tables to the scale of a linear layer."""
    import torch

    for name, weight in transformer.named_parameters():
        with torch.no_grad():
            if "norm" in name:
                weight.add_(0.2 * torch.randn_like(weight))
            elif name.endswith("modality_embed"):
                weight.normal_(std=0.2)
            elif name.endswith("proj_in.fc.weight"):
                weight.mul_(transformer.action_proj_in.input_size**-0.5)
            elif name.endswith("proj_out.fc.weight"):
                weight.mul_(transformer.action_proj_out.input_size**-0.5)


def _tokenizer() -> Any:
    """Train a byte-level BPE on one sentence: it can spell every prompt, and has Cosmos 3's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>"],
        show_progress=False,
    )
    bpe.train_from_iterator([TASK] * 10, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{m.role}}\n{{m.content}}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return tokenizer


def _sound_tokenizer(sound_dim: int) -> Any:
    """Return a stereo audio tokenizer of 2 kHz: 80 samples a latent frame, so that 25 frames are one second."""
    from diffusers import Cosmos3AVAEAudioTokenizer

    return Cosmos3AVAEAudioTokenizer(
        sampling_rate=2000,
        vocoder_input_dim=sound_dim,
        dec_dim=4,
        dec_c_mults=(1, 2, 2),
        dec_strides=(2, 5, 8),
        encoder_enabled=False,
    ).eval()
