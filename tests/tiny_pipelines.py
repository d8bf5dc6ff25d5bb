"""Small random pipelines of every kind, built from diffusers' own classes at sizes of our own: nothing is downloaded.

Weights are random, so what they make is noise; the classes, files, shapes and code paths are those of real checkpoints.
Each builder writes a `save_pretrained` folder; `CALLS` holds the parameters of one quick call.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

CALLS: dict[str, dict[str, Any]] = {
    "WanPipeline": {"prompt": "a cat", "num_frames": 5, "height": 32, "width": 48, "num_inference_steps": 2, "generator": 0},
    "HunyuanVideoPipeline": {
        "prompt": "a cat", "num_frames": 5, "height": 16, "width": 32, "num_inference_steps": 2, "generator": 0,
        "max_sequence_length": 16, "prompt_template": {"template": "{}", "crop_start": 0},
    },
    "Cosmos2TextToImagePipeline": {
        "prompt": "a cat", "height": 32, "width": 48, "num_inference_steps": 2, "generator": 0, "max_sequence_length": 16,
    },
    "StableDiffusionPipeline": {"prompt": "a cat", "height": 32, "width": 48, "num_inference_steps": 2, "generator": 0},
    "StableAudioPipeline": {"prompt": "a hammer", "num_inference_steps": 2, "audio_end_in_s": 0.5, "generator": 0},
    "ShapEPipeline": {"prompt": "a horse", "num_inference_steps": 1, "frame_size": 32, "generator": 0},
}  # fmt: skip
"""Pipeline class -> parameters of a call that takes a second or two on one CPU."""


def build(name: str, folder: str | Path) -> Path:
    """Write the pipeline `name` into `folder` and return it."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipe = BUILDERS[name]()
    pipe.save_pretrained(folder)
    return Path(folder)


def coarse_meshes(patch: Any) -> None:
    """Shap-E asks its renderer at 32 places a side, not at 128: a hundredth of the work, the same code."""
    from diffusers.pipelines.shap_e.renderer import ShapERenderer

    patch.setattr(ShapERenderer, "decode_to_mesh", functools.partialmethod(ShapERenderer.decode_to_mesh, grid_size=32))


def tokenizer(length: int = 32) -> Any:
    """A byte-level BPE that spells every prompt, with the special tokens of T5, Llama and CLIP alike."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=specials, show_progress=False
    )
    bpe.train_from_iterator(["a cat"] * 4, trainer)
    bpe.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=length,
    )


def t5() -> Any:
    """A T5 encoder of width 32."""
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(T5Config(vocab_size=300, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)).eval()


def umt5() -> Any:
    """A UMT5 encoder of width 32."""
    from transformers import UMT5Config, UMT5EncoderModel

    return UMT5EncoderModel(UMT5Config(vocab_size=300, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)).eval()


def clip(width: int, *, projection: bool = False) -> Any:
    """A CLIP text encoder."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=300, hidden_size=width, projection_dim=width, intermediate_size=37, num_attention_heads=4,
        num_hidden_layers=2, bos_token_id=0, pad_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()


def wan_vae() -> Any:
    """A Wan 2.1 autoencoder: 8x in space, 4x in time."""
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(
        base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    ).eval()


def wan() -> Any:
    """Wan text to video."""
    from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel

    transformer = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=16, out_channels=16, text_dim=32, freq_dim=32,
        ffn_dim=32, num_layers=2, rope_max_seq_len=32,
    )  # fmt: skip
    return WanPipeline(tokenizer(), umt5(), wan_vae(), FlowMatchEulerDiscreteScheduler(shift=7.0), transformer.eval())


def hunyuan_video() -> Any:
    """Hunyuan text to video."""
    from diffusers import (
        AutoencoderKLHunyuanVideo,
        FlowMatchEulerDiscreteScheduler,
        HunyuanVideoPipeline,
        HunyuanVideoTransformer3DModel,
    )
    from transformers import LlamaConfig, LlamaModel

    transformer = HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=10, num_layers=1, num_single_layers=1,
        num_refiner_layers=1, patch_size=1, text_embed_dim=16, pooled_projection_dim=8, rope_axes_dim=(2, 4, 4),
    )  # fmt: skip
    vae = AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4
    )
    llama = LlamaConfig(
        vocab_size=300, hidden_size=16, intermediate_size=37, num_attention_heads=4, num_hidden_layers=3,
        bos_token_id=0, pad_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return HunyuanVideoPipeline(
        text_encoder=LlamaModel(llama).eval(),
        tokenizer=tokenizer(256),
        transformer=transformer.eval(),
        vae=vae.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder_2=clip(8),
        tokenizer_2=tokenizer(77),
    )


def cosmos2_text_to_image() -> Any:
    """Cosmos 2 text to image, without NVIDIA's safety checker, and without the padding mask, which needs torchvision."""
    from diffusers import Cosmos2TextToImagePipeline, CosmosTransformer3DModel, FlowMatchEulerDiscreteScheduler

    from strands_diffusers.pipelines.guardrail import NoGuardrail

    transformer = CosmosTransformer3DModel(
        in_channels=16, out_channels=16, num_attention_heads=2, attention_head_dim=16, num_layers=2, mlp_ratio=2,
        text_embed_dim=32, adaln_lora_dim=4, max_size=(4, 32, 32), concat_padding_mask=False,
    )  # fmt: skip
    pipe = Cosmos2TextToImagePipeline(
        t5(),
        tokenizer(),
        transformer.eval(),
        wan_vae(),
        FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True),
        NoGuardrail(),
    )
    pipe.register_modules(safety_checker=None)
    return pipe


def stable_diffusion() -> Any:
    """Stable Diffusion text to image."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    unet = UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=16, in_channels=4, out_channels=4, cross_attention_dim=32,
        attention_head_dim=4, norm_num_groups=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=[8, 16], norm_num_groups=4, latent_channels=4, down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
    )  # fmt: skip
    return StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=clip(32),
        tokenizer=tokenizer(77),
        unet=unet.eval(),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_audio() -> Any:
    """Stable Audio: stereo at 2 kHz."""
    from diffusers import (
        AutoencoderOobleck,
        EDMDPMSolverMultistepScheduler,
        StableAudioDiTModel,
        StableAudioPipeline,
        StableAudioProjectionModel,
    )

    transformer = StableAudioDiTModel(
        sample_size=512, in_channels=3, num_layers=2, attention_head_dim=4, num_attention_heads=2,
        num_key_value_attention_heads=2, out_channels=3, cross_attention_dim=4, time_proj_dim=8, global_states_input_dim=8,
        cross_attention_input_dim=4,
    )  # fmt: skip
    vae = AutoencoderOobleck(
        encoder_hidden_size=6, downsampling_ratios=[2, 2], decoder_channels=3, decoder_input_channels=3,
        channel_multiples=[2, 4], audio_channels=2, sampling_rate=2000,
    )  # fmt: skip
    scheduler = EDMDPMSolverMultistepScheduler(
        prediction_type="v_prediction", sigma_data=1.0, sigma_schedule="exponential"
    )
    projection = StableAudioProjectionModel(text_encoder_dim=32, conditioning_dim=4, min_value=0, max_value=32)
    return StableAudioPipeline(vae.eval(), t5(), projection.eval(), tokenizer(), transformer.eval(), scheduler)


def shap_e() -> Any:
    """Shap-E text to mesh."""
    import torch
    from diffusers import HeunDiscreteScheduler, PriorTransformer, ShapEPipeline
    from diffusers.pipelines.shap_e import ShapERenderer

    prior = PriorTransformer(
        num_attention_heads=2, attention_head_dim=16, embedding_dim=32, num_embeddings=32, embedding_proj_dim=32,
        time_embed_dim=64, num_layers=1, clip_embed_dim=64, additional_embeddings=0, time_embed_act_fn="gelu",
        norm_in_type="layer", encoder_hid_proj_type=None, added_emb_type=None,
    )  # fmt: skip
    renderer = ShapERenderer(
        param_shapes=((8, 93), (8, 8), (8, 8), (8, 8)), d_latent=32, d_hidden=8, n_output=12, background=(0.1, 0.1, 0.1)
    )
    renderer.mlp.mlp[-1].bias.data[0] = 2.0  # inside everywhere: the surface is the bounding box, never empty
    sides = {0: (170, 85), 1: (204, 51), 2: (240, 15)}  # marching cubes: four corners of a side inside, by axis
    for axis, masks in sides.items():  # a checkpoint brings the whole table; a box needs these six rows
        quad = [[4 * axis + corner for corner in triangle] for triangle in ((0, 1, 3), (0, 3, 2))]
        for mask in masks:
            renderer.mesh_decoder.cases[mask, :2] = torch.tensor(quad)
            renderer.mesh_decoder.masks[mask, :2] = True
    scheduler = HeunDiscreteScheduler(
        beta_schedule="exp",
        num_train_timesteps=1024,
        prediction_type="sample",
        use_karras_sigmas=True,
        clip_sample=True,
    )
    return ShapEPipeline(prior.eval(), clip(32, projection=True), tokenizer(77), scheduler, renderer.eval())


BUILDERS: dict[str, Callable[[], Any]] = {
    "WanPipeline": wan,
    "HunyuanVideoPipeline": hunyuan_video,
    "Cosmos2TextToImagePipeline": cosmos2_text_to_image,
    "StableDiffusionPipeline": stable_diffusion,
    "StableAudioPipeline": stable_audio,
    "ShapEPipeline": shap_e,
}
"""Pipeline class -> its builder."""
