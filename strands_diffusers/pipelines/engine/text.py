"""What a prompt becomes: per layer, the keys and values that generated tokens attend to. Made once, read at every step."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from strands_diffusers.memory import Memory
from strands_diffusers.pipelines.engine.attention import understanding_layer
from strands_diffusers.pipelines.engine.hooks import through_hooks
from strands_diffusers.pipelines.engine.layout import text_rotary
from strands_diffusers.pipelines.engine.memory import kept


@dataclass(frozen=True, eq=False)
class Text:
    """A prompt as the model has understood it."""

    length: int
    """Tokens, L."""

    layers: list[tuple[Tensor, Tensor]]
    """Keys and values [1, L, g, d] of each layer."""


def read_prompt(transformer: Any, token_ids: list[int], device: Any, memory: Memory) -> Text:
    """Return the text's keys and values, from `memory` where the same weights have read the same tokens."""
    parts = [transformer.embed_tokens, *(part for layer in transformer.layers for part in _understanding(layer))]
    key = ("text", tuple(token_ids), str(device), transformer.layers[0].self_attn.processor._attention_backend)
    return kept(memory, parts, key, lambda: _read(transformer, token_ids, device))


def _understanding(layer: Any) -> list[Any]:
    """The parts of a layer that the text passes through."""
    attn = layer.self_attn
    parts = [layer.input_layernorm, attn.to_q, attn.to_k, attn.to_v, attn.to_out, attn.norm_q, attn.norm_k]
    parts += [layer.post_attention_layernorm, layer.mlp]
    return parts if attn.k_norm_und_for_gen is None else [*parts, attn.k_norm_und_for_gen]


def _read(transformer: Any, token_ids: list[int], device: Any) -> Text:
    import torch

    text_LC = transformer.embed_tokens(torch.tensor(token_ids, dtype=torch.long, device=device))
    cos, sin = text_rotary(transformer, len(token_ids), device, text_LC.dtype)
    layers = []
    for index, layer in enumerate(transformer.layers):
        last = index == len(transformer.layers) - 1
        text_LC, keys, values = through_hooks(layer, understanding_layer, text_LC, cos, sin, last)
        layers.append((keys, values))
    return Text(len(token_ids), layers)
