"""The forward pass of a Cosmos 3 transformer for a batch.

diffusers' `Cosmos3OmniTransformer.forward` takes one sample. `predict` computes the same function from the same modules for a
batch whose samples may differ in mode, prompt and number of actions, with the text part once per different prompt.
`tests/test_network.py` holds it against the calls that the pipeline itself makes.

Shape letters: B batch, P prompts, L prompt tokens, C latent channels, T latent frames, A actions of the longest chunk, D action
width of the model, N generated tokens (vision, then action), K heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

TEMPORAL = 4
"""Frames that the autoencoder packs into one latent frame, after the first."""

HIDDEN = -1e4
"""Added to the scores of what is not to be seen."""


@dataclass(frozen=True)
class Layout:
    """What all samples of a run share."""

    position_3N: torch.Tensor
    """MRoPE positions of the generated tokens, before the prompt's length is added."""

    domain: int
    """Row of the action projections."""

    def to(self, device: str) -> Layout:
        """The same on a device."""
        return Layout(self.position_3N.to(device), self.domain)


def layout_of(config: Any, latent_CTHW: tuple[int, ...], num_actions: int, fps: float, domain: int) -> Layout:
    """The layout for latents of a shape and chunks of at most `num_actions`; `config` is the transformer's."""
    from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import get_3d_mrope_ids_vae_tokens

    _, t, h, w = latent_CTHW
    patch = config.latent_patch_size
    rate = fps if config.enable_fps_modulation else None
    base = float(config.base_fps)
    vision, _ = get_3d_mrope_ids_vae_tokens(
        t, math.ceil(h / patch), math.ceil(w / patch), 0, True, rate, base, TEMPORAL
    )
    action, _ = get_3d_mrope_ids_vae_tokens(
        num_actions, 1, 1, 0, True, rate, base, 1, base_temporal_compression_factor=TEMPORAL, start_frame_offset=1
    )
    return Layout(torch.cat([vision.float(), action.float()], dim=1), domain)


@dataclass
class Batch:
    """Noisy samples and what each is conditioned on.

    A frame or an action that is given, not predicted, is clean and has `False` in its noisy mask; that mask is the
    only thing that tells the modes apart. `has_action` False (text-conditioned video) hides the action tokens; of a `chunk`
    shorter than A the later actions and their frames are hidden, and have `False` in the noisy masks too.
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


def seen_frames(batch: Batch) -> torch.Tensor:
    """Latent frames that a sample has: bool [B, T]."""
    frames = torch.arange(batch.latent_BCTHW.shape[2], device=batch.chunk_B.device)
    return frames * TEMPORAL <= batch.chunk_B[:, None]


def seen_actions(batch: Batch) -> torch.Tensor:
    """Actions that a sample has: bool [B, A]."""
    actions = torch.arange(batch.action_BAD.shape[1], device=batch.chunk_B.device)
    return (actions < batch.chunk_B[:, None]) & batch.has_action_B[:, None]


def _norm(layer: Any, x: torch.Tensor) -> torch.Tensor:
    if isinstance(layer, torch.nn.Identity):
        return x
    return functional.rms_norm(x, (x.shape[-1],), layer.weight.to(x.dtype), layer.eps)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """[B, K, N, head] -> [B, N, K * head]. On a CPU two plain products beat the fused kernel's backward pass."""
    if k.shape[1] < q.shape[1]:
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    if q.is_cuda:
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    else:
        b, heads, n, d = q.shape
        scores = torch.bmm((q * d**-0.5).reshape(b * heads, n, d), k.reshape(b * heads, -1, d).mT)
        scores = (scores.view(b, heads, n, -1) + mask).softmax(-1).to(v.dtype)
        out = torch.bmm(scores.view(b * heads, n, -1), v.reshape(b * heads, -1, d)).view(b, heads, n, d)
    return out.transpose(1, 2).flatten(2)


def patchify(latent_BCTHW: torch.Tensor, patch: int) -> torch.Tensor:
    """Latents as vision tokens [B, T * h * w, patch * patch * C], padded with zeros to whole patches."""
    b, c, t, height, width = latent_BCTHW.shape
    x = functional.pad(latent_BCTHW, (0, -width % patch, 0, -height % patch))
    x = x.view(b, c, t, x.shape[3] // patch, patch, x.shape[4] // patch, patch)
    return torch.einsum("bcthpwq->bthwpqc", x).reshape(b, -1, patch * patch * c)


def unpatchify(tokens_BNC: torch.Tensor, patch: int, shape: torch.Size) -> torch.Tensor:
    """The inverse of `patchify`, for latents of that shape."""
    b, c, t, height, width = shape
    h, w = math.ceil(height / patch), math.ceil(width / patch)
    x = torch.einsum("bthwpqc->bcthpwq", tokens_BNC.view(b, t, h, w, patch, patch, c))
    return x.reshape(b, c, t, h * patch, w * patch)[..., :height, :width]


def predict(
    model: Any, batch: Batch, layout: Layout, dtype: torch.dtype = torch.float32, checkpointing: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Velocities (noise - data): latents [B, C, T, H, W] and actions [B, A, D].

    `model` is a `Cosmos3OmniTransformer`, with or without adapters. With `checkpointing` each layer is computed again on the way
    back, which keeps the memory of one layer instead of all.
    """
    config, device = model.config, batch.latent_BCTHW.device
    length, patch = batch.ids_PL.shape[1], config.latent_patch_size
    embedder = model.time_embedder
    time = model.time_proj(batch.sigma_B * 1000 * config.timestep_scale)
    time = embedder(time.to(next(embedder.parameters()).dtype))[:, None]
    heads_dtype = model.proj_in.weight.dtype
    vision = model.proj_in(patchify(batch.latent_BCTHW, patch).to(heads_dtype))
    num_vision = vision.shape[1]
    per_frame = num_vision // batch.latent_BCTHW.shape[2]
    vision = vision + time * batch.noisy_frame_BT.repeat_interleave(per_frame, 1)[..., None]
    tokens = [vision.to(dtype)]
    if config.action_gen:
        weight = model.action_proj_in.fc.weight[layout.domain].view(config.action_dim, -1)
        action = batch.action_BAD.to(weight.dtype) @ weight + model.action_proj_in.bias.weight[layout.domain]
        action = action + model.action_modality_embed + time * batch.noisy_action_BA[..., None]
        tokens.append(action.to(dtype))
    gen = torch.cat(tokens, 1)
    und = model.embed_tokens(batch.ids_PL).to(dtype)

    b = len(gen)
    offset = (batch.length_P[batch.prompt_B] + config.unified_3d_mrope_temporal_modality_margin).float()
    gen_position = layout.position_3N[:, None, : gen.shape[1]].repeat(1, b, 1)
    gen_position[0] += offset[:, None]
    if not config.unified_3d_mrope_reset_spatial_ids:
        gen_position[1:] += offset[:, None]
    und_position = torch.arange(length, device=device, dtype=torch.float32).expand(3, 1, length)
    cos_g, sin_g = (x.unsqueeze(1).to(dtype) for x in model.rotary_emb(gen_position, device, torch.float32))
    cos_u, sin_u = (x.unsqueeze(1).to(dtype) for x in model.rotary_emb(und_position, device, torch.float32))
    parts = [
        (torch.arange(length, device=device) < batch.length_P[:, None])[batch.prompt_B],
        seen_frames(batch).repeat_interleave(per_frame, 1),
        seen_actions(batch),
    ]
    seen = torch.cat(parts[: 1 + len(tokens)], dim=1)
    mask = torch.zeros(b, 1, 1, seen.shape[1], dtype=dtype, device=device).masked_fill_(~seen[:, None, None], HIDDEN)
    causal = torch.full((length, length), HIDDEN, dtype=dtype, device=device).triu(1)
    rotary = (cos_u, sin_u, cos_g, sin_g)
    for i, layer in enumerate(model.layers):
        last = i == len(model.layers) - 1  # after the last layer nothing reads the text
        call: Callable[..., Any] = _layer
        if checkpointing and torch.is_grad_enabled():
            und, gen = checkpoint(
                call, layer, und, gen, rotary, mask, causal, batch.prompt_B, last, use_reentrant=False
            )
        else:
            und, gen = call(layer, und, gen, rotary, mask, causal, batch.prompt_B, last)
    gen = _norm(model.norm_moe_gen, gen)
    vision = unpatchify(model.proj_out(gen[:, :num_vision]), patch, batch.latent_BCTHW.shape)
    if not config.action_gen:
        return vision, torch.zeros_like(batch.action_BAD)
    weight = model.action_proj_out.fc.weight[layout.domain].view(-1, config.action_dim).to(dtype)
    action = gen[:, num_vision:] @ weight + model.action_proj_out.bias.weight[layout.domain].to(dtype)
    return vision, action


def _layer(
    layer: Any,
    und: torch.Tensor,
    gen: torch.Tensor,
    rotary: tuple[torch.Tensor, ...],
    mask: torch.Tensor,
    causal: torch.Tensor,
    prompt_B: torch.Tensor,
    last: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    attn = layer.self_attn
    cos_u, sin_u, cos_g, sin_g = rotary

    def heads(x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], x.shape[1], -1, attn.head_dim)

    u, g = _norm(layer.input_layernorm, und), _norm(layer.input_layernorm_moe_gen, gen)
    own_k_u = _norm(attn.norm_k, heads(attn.to_k(u)))
    k_u = own_k_u if attn.k_norm_und_for_gen is None else _norm(attn.k_norm_und_for_gen, own_k_u)
    k_u = _rotate(k_u.transpose(1, 2), cos_u, sin_u)
    v_u = heads(attn.to_v(u)).transpose(1, 2)
    q_g = _rotate(_norm(attn.norm_added_q, heads(attn.add_q_proj(g))).transpose(1, 2), cos_g, sin_g)
    k_g = _rotate(_norm(attn.norm_added_k, heads(attn.add_k_proj(g))).transpose(1, 2), cos_g, sin_g)
    v_g = heads(attn.add_v_proj(g)).transpose(1, 2)
    if not last:
        q_u = _rotate(_norm(attn.norm_q, heads(attn.to_q(u))).transpose(1, 2), cos_u, sin_u)
        seen_u = k_u if attn.k_norm_und_for_gen is None else _rotate(own_k_u.transpose(1, 2), cos_u, sin_u)
        und = und + attn.to_out(_attend(q_u, seen_u, v_u, causal))
        und = und + layer.mlp(_norm(layer.post_attention_layernorm, und))
    k, v = torch.cat([k_u[prompt_B], k_g], 2), torch.cat([v_u[prompt_B], v_g], 2)
    gen = gen + attn.to_add_out(_attend(q_g, k, v, mask))
    return und, gen + layer.mlp_moe_gen(_norm(layer.post_attention_layernorm_moe_gen, gen))
