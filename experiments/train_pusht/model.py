"""The transformer: its sizes, its first weights, and which of them are trained.

Samples have room for 16 actions: 5 latent frames of 6 x 6. Of a shorter chunk the rest is hidden. The forward pass for a batch
is `strands_diffusers_training.network`; `test_predict.py` holds it against this model's own pipeline.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import Cosmos3OmniTransformer
from strands_diffusers_training.network import Layout, layout_of
from transformers import AutoTokenizer

from .vae import LATENT_DIM

PUSHT_DOMAIN = 4
NUM_ACTIONS = 16
ACTION_DIM = 2
LATENT_SHAPE = (LATENT_DIM, 5, 6, 6)
FPS = 10.0

ARCHITECTURE: dict[str, Any] = {
    "head_dim": 64,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "num_hidden_layers": 6,
    "latent_channel": LATENT_DIM,
    "latent_patch_size": 1,
    "patch_latent_dim": LATENT_DIM,
    "action_gen": True,
    "action_dim": ACTION_DIM,
    "num_embodiment_domains": 32,
    "vocab_size": 768,
    "rope_theta": 100.0,
    "rope_axes_dim": [12, 10, 10],
    "base_fps": 24,
    "enable_fps_modulation": True,
    "unified_3d_mrope_temporal_modality_margin": 16,
    "timestep_scale": 1.0,
    "rms_norm_eps": 1e-6,
}


def build(init: str = "", tokenizer: Any = None, **overrides: Any) -> Cosmos3OmniTransformer:
    """A transformer with weights scaled for training from nothing, or those of the pipeline folder `init`.

    `init`'s token embeddings are taken over by the tokens' text; tokens it did not know keep new ones.
    """
    torch.manual_seed(0)
    model = Cosmos3OmniTransformer(**(ARCHITECTURE | overrides)).float()
    depth = model.config.num_hidden_layers
    for name, p in model.named_parameters():
        if p.ndim == 2 and not name.startswith(("embed_tokens", "lm_head", "action_")):
            torch.nn.init.normal_(p, 0, p.shape[1] ** -0.5)
        if name.endswith(("to_out.weight", "to_add_out.weight", "down_proj.weight")):
            p.data.mul_((2 * depth) ** -0.5)
        if name.endswith("bias") and p.ndim == 1:
            p.data.zero_()
    torch.nn.init.normal_(model.embed_tokens.weight, 0, 0.5)
    torch.nn.init.zeros_(model.lm_head.weight)  # never used here: no text is generated
    torch.nn.init.normal_(model.action_proj_in.fc.weight, 0, 0.7)
    torch.nn.init.zeros_(model.action_proj_in.bias.weight)
    torch.nn.init.normal_(model.action_proj_out.fc.weight, 0, 0.02)
    torch.nn.init.zeros_(model.action_proj_out.bias.weight)
    torch.nn.init.normal_(model.action_modality_embed, 0, 0.5)
    model.proj_out.weight.data.mul_(0.1)
    if init:
        source = Cosmos3OmniTransformer.from_pretrained(init, subfolder="transformer").float().state_dict()
        old = AutoTokenizer.from_pretrained(str(Path(init) / "text_tokenizer")).get_vocab()
        rows = model.embed_tokens.weight.detach().clone()
        for token, row in tokenizer.get_vocab().items():
            if token in old:
                rows[row] = source["embed_tokens.weight"][old[token]]
        source["embed_tokens.weight"], source["lm_head.weight"] = rows, model.lm_head.weight.detach()
        model.load_state_dict(source)
    return model


def layout() -> Layout:
    """Positions of the generated tokens, and the domain: the same for every sample."""
    facts = SimpleNamespace(latent_patch_size=1, enable_fps_modulation=True, base_fps=ARCHITECTURE["base_fps"])
    return layout_of(facts, LATENT_SHAPE, NUM_ACTIONS, FPS, PUSHT_DOMAIN)
