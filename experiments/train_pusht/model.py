"""The transformer, and its forward pass for a batch.

`Cosmos3OmniTransformer.forward` takes one sample. `predict` computes the same function from the same parameters for a
batch whose samples may differ in mode, prompt and chunk, with the text part once per different prompt; `test_predict.py`
holds it against the pipeline's own calls. Samples have room for 16 actions: 5 latent frames of 6 x 6. Of a shorter chunk
the rest is hidden.

Shape letters: B batch, P prompts, L prompt tokens, N generated tokens (5 * 36 vision, then 16 action), K heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import Cosmos3OmniTransformer
from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import get_3d_mrope_ids_vae_tokens
from torch.nn import functional
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


@dataclass
class Batch:
    """Noisy samples and what each is conditioned on.

    A frame or an action that is given, not predicted, is clean and has `False` in its noisy mask; that mask is the
    only thing that tells the modes apart. `has_action` False (text-conditioned video) hides the action tokens; of a `chunk`
    of fewer than 16 actions the later ones and their frames are hidden, and have `False` in the noisy masks too.
    """

    ids_PL: torch.Tensor
    length_P: torch.Tensor
    prompt_B: torch.Tensor
    latent_BCTHW: torch.Tensor
    action_BAD: torch.Tensor
    noisy_frame_BT: torch.Tensor
    noisy_action_BA: torch.Tensor
    has_action_B: torch.Tensor
    sigma_B: torch.Tensor
    chunk_B: torch.Tensor

    def to(self, device: str) -> Batch:
        """The same batch on a device."""
        return Batch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


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


def trained_parameters(model: Cosmos3OmniTransformer) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """The matrices inside the layers (for Muon), and the rest that the forward pass uses."""
    last = f"layers.{model.config.num_hidden_layers - 1}."
    # The text half of the last layer's output, and the language head, feed nothing that is generated.
    idle = (
        "lm_head",
        "norm.weight",
        *(
            last + part
            for part in ("self_attn.to_q", "self_attn.norm_q", "self_attn.to_out", "mlp.", "post_attention_layernorm.")
        ),
    )
    matrices, others = [], []
    for name, p in model.named_parameters():
        if name.startswith(idle):
            p.requires_grad_(False)
        elif name.startswith("layers.") and p.ndim == 2:
            matrices.append(p)
        else:
            others.append(p)
    return matrices, others


def seen_frames(batch: Batch) -> torch.Tensor:
    """Latent frames that a sample has: bool [B, T]."""
    frames = torch.arange(batch.latent_BCTHW.shape[2], device=batch.chunk_B.device)
    return frames * 4 <= batch.chunk_B[:, None]


def seen_actions(batch: Batch) -> torch.Tensor:
    """Actions that a sample has: bool [B, A]."""
    actions = torch.arange(batch.action_BAD.shape[1], device=batch.chunk_B.device)
    return (actions < batch.chunk_B[:, None]) & batch.has_action_B[:, None]


def positions() -> torch.Tensor:
    """MRoPE positions [3, N] of the generated tokens, before the prompt's length is added to the first row."""
    _, t, h, w = LATENT_SHAPE
    vision, _ = get_3d_mrope_ids_vae_tokens(t, h, w, 0, True, FPS, 24.0, 4)
    action, _ = get_3d_mrope_ids_vae_tokens(
        NUM_ACTIONS, 1, 1, 0, True, FPS, 24.0, 1, base_temporal_compression_factor=4, start_frame_offset=1
    )
    return torch.cat([vision.float(), action.float()], dim=1)


def _norm(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    return functional.rms_norm(x, (x.shape[-1],), layer.weight.to(x.dtype), layer.eps)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """[B, K, N, head] -> [B, N, K * head]. On a CPU two plain products beat the fused kernel's backward pass."""
    if q.is_cuda:
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    else:
        b, heads, n, d = q.shape
        scores = torch.bmm((q * d**-0.5).reshape(b * heads, n, d), k.reshape(b * heads, -1, d).mT)
        scores = (scores.view(b, heads, n, -1) + mask).softmax(-1).to(v.dtype)
        out = torch.bmm(scores.view(b * heads, n, -1), v.reshape(b * heads, -1, d)).view(b, heads, n, d)
    return out.transpose(1, 2).flatten(2)


def predict(
    model: Cosmos3OmniTransformer, batch: Batch, position_3N: torch.Tensor, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    """Velocities (noise - data): latents [B, 32, 5, 6, 6] and actions [B, 16, 2]."""
    config, device = model.config, batch.latent_BCTHW.device
    b, c, t, h, w = batch.latent_BCTHW.shape
    length = batch.ids_PL.shape[1]
    per_frame = h * w
    time = model.time_embedder(model.time_proj(batch.sigma_B * 1000 * config.timestep_scale))[:, None]
    vision = model.proj_in(batch.latent_BCTHW.permute(0, 2, 3, 4, 1).reshape(b, -1, c))
    vision = vision + time * batch.noisy_frame_BT.repeat_interleave(per_frame, 1)[..., None]
    weight = model.action_proj_in.fc.weight[PUSHT_DOMAIN].view(config.action_dim, -1)
    action = batch.action_BAD @ weight + model.action_proj_in.bias.weight[PUSHT_DOMAIN] + model.action_modality_embed
    action = action + time * batch.noisy_action_BA[..., None]
    gen = torch.cat([vision, action], 1).to(dtype)
    und = model.embed_tokens(batch.ids_PL).to(dtype)

    offset = (batch.length_P[batch.prompt_B] + config.unified_3d_mrope_temporal_modality_margin).float()
    gen_position = position_3N[:, None].repeat(1, b, 1)
    gen_position[0] += offset[:, None]
    und_position = torch.arange(length, device=device, dtype=torch.float32).expand(3, 1, length)
    cos_g, sin_g = (x.unsqueeze(1).to(dtype) for x in model.rotary_emb(gen_position, device, torch.float32))
    cos_u, sin_u = (x.unsqueeze(1).to(dtype) for x in model.rotary_emb(und_position, device, torch.float32))
    seen = torch.cat(
        [
            (torch.arange(length, device=device) < batch.length_P[:, None])[batch.prompt_B],
            seen_frames(batch).repeat_interleave(per_frame, 1),
            seen_actions(batch),
        ],
        dim=1,
    )
    mask = torch.zeros(b, 1, 1, seen.shape[1], dtype=dtype, device=device).masked_fill_(~seen[:, None, None], -1e4)
    causal = torch.full((length, length), -1e4, dtype=dtype, device=device).triu(1)

    def heads(x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], x.shape[1], -1, config.head_dim)

    for i, layer in enumerate(model.layers):
        attn, last = layer.self_attn, i == config.num_hidden_layers - 1
        u, g = _norm(layer.input_layernorm, und), _norm(layer.input_layernorm_moe_gen, gen)
        k_u = _rotate(_norm(attn.norm_k, heads(attn.to_k(u))).transpose(1, 2), cos_u, sin_u)
        v_u = heads(attn.to_v(u)).transpose(1, 2)
        q_g = _rotate(_norm(attn.norm_added_q, heads(attn.add_q_proj(g))).transpose(1, 2), cos_g, sin_g)
        k_g = _rotate(_norm(attn.norm_added_k, heads(attn.add_k_proj(g))).transpose(1, 2), cos_g, sin_g)
        v_g = heads(attn.add_v_proj(g)).transpose(1, 2)
        if not last:  # after the last layer nothing reads the text
            q_u = _rotate(_norm(attn.norm_q, heads(attn.to_q(u))).transpose(1, 2), cos_u, sin_u)
            und = und + attn.to_out(_attend(q_u, k_u, v_u, causal))
            und = und + layer.mlp(_norm(layer.post_attention_layernorm, und))
        k, v = torch.cat([k_u[batch.prompt_B], k_g], 2), torch.cat([v_u[batch.prompt_B], v_g], 2)
        gen = gen + attn.to_add_out(_attend(q_g, k, v, mask))
        gen = gen + layer.mlp_moe_gen(_norm(layer.post_attention_layernorm_moe_gen, gen))
    gen = _norm(model.norm_moe_gen, gen)
    vision = model.proj_out(gen[:, : t * per_frame]).view(b, t, h, w, c).permute(0, 4, 1, 2, 3)
    weight = model.action_proj_out.fc.weight[PUSHT_DOMAIN].view(-1, config.action_dim).to(dtype)
    action = gen[:, t * per_frame :] @ weight + model.action_proj_out.bias.weight[PUSHT_DOMAIN].to(dtype)
    return vision, action
