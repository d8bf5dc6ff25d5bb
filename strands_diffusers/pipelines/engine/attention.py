"""One decoder layer of Cosmos 3, taken apart into its two streams.

Text tokens ("understanding") attend to text alone, causally; generated tokens attend to everything. So the text stream
never changes while the model denoises, and all that a generated token needs of it are the keys and values of each
layer. `understanding_layer` makes those once per prompt; `generation_layer` is all that is left of a denoising step.

Both do what `Cosmos3VLTextMoTDecoderLayer` and `Cosmos3AttnProcessor` of diffusers do, operation by operation and, for
one sample, in the same shapes: that is why the numbers are the same, bit for bit.

Shapes: L text tokens, N generated tokens of one sample, B samples, C hidden width, h query heads, g key heads, d head
width. Generated tokens are packed as diffusers packs them: `[B * N, C]`, sample after sample.
"""

from typing import Any

from torch import Tensor, cat
from torch.nn.functional import silu


def understanding_layer(
    layer: Any, text_LC: Tensor, cos: Tensor, sin: Tensor, last: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the text stream through one layer; return its output and the keys and values that generated tokens see.

    Shapes: `text_LC` [L, C]; `cos`, `sin` [L, 1, d]; keys and values [1, L, g, d]. After the `last` layer nothing reads
    the text again, so its own attention and MLP are left out there and `text_LC` is returned as it came.
    """
    attn = layer.self_attn
    x = layer.input_layernorm(text_LC)
    k = attn.norm_k(attn.to_k(x).view(-1, attn.num_key_value_heads, attn.head_dim))
    v = attn.to_v(x).view(-1, attn.num_key_value_heads, attn.head_dim)
    seen = attn.k_norm_und_for_gen(k) if attn.k_norm_und_for_gen is not None else k
    seen = rotate(seen, cos, sin)
    if not last:
        q = rotate(attn.norm_q(attn.to_q(x).view(-1, attn.num_attention_heads, attn.head_dim)), cos, sin)
        k = rotate(k, cos, sin)
        attended = attend(attn, q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0), is_causal=True)
        text_LC = text_LC + attn.to_out(attended.squeeze(0).flatten(-2, -1))
        text_LC = text_LC + layer.mlp(layer.post_attention_layernorm(text_LC))
    return text_LC, seen.unsqueeze(0), v.unsqueeze(0)


def generation_layer(
    layer: Any, tokens: Tensor, k_text: Tensor, v_text: Tensor, cos: Tensor, sin: Tensor, rows: Tensor | None = None
) -> Tensor:
    """Run the generated tokens of all samples through one layer, attending to the text and to their own sample.

    Shapes: `tokens` [B * N, C] in and out; `k_text`, `v_text` [1, L, g, d]; `cos`, `sin` [N, 1, d]. With `rows` [R]
    only those tokens of each sample are wanted, all others being attended to alone: the result is [B * R, C].
    """
    attn = layer.self_attn
    batch = tokens.shape[0] // cos.shape[0]
    x = layer.input_layernorm_moe_gen(tokens)
    k = attn.norm_added_k(attn.add_k_proj(x).view(batch, -1, attn.num_key_value_heads, attn.head_dim))
    v = attn.add_v_proj(x).view(batch, -1, attn.num_key_value_heads, attn.head_dim)
    k = cat([k_text.expand(batch, -1, -1, -1), rotate(k, cos, sin)], dim=1)
    v = cat([v_text.expand(batch, -1, -1, -1), v], dim=1)
    if rows is not None:
        tokens, x = (t.unflatten(0, (batch, -1)).index_select(1, rows).flatten(0, 1) for t in (tokens, x))
        cos, sin = cos.index_select(0, rows), sin.index_select(0, rows)
    q = attn.norm_added_q(attn.add_q_proj(x).view(batch, -1, attn.num_attention_heads, attn.head_dim))
    attended = attend(attn, rotate(q, cos, sin), k, v, is_causal=False)
    tokens = attn.to_add_out(attended.flatten(0, 1).flatten(-2, -1)).add_(tokens)
    return feed_forward(layer.mlp_moe_gen, layer.post_attention_layernorm_moe_gen(tokens)).add_(tokens)


def attend(attn: Any, q: Tensor, k: Tensor, v: Tensor, *, is_causal: bool) -> Tensor:
    """Attention `[B, N, h, d]` through diffusers' dispatcher, so that the backend a user chose is the one that runs."""
    from diffusers.models.attention_dispatch import dispatch_attention_fn

    return dispatch_attention_fn(
        q, k, v, is_causal=is_causal, enable_gqa=True, backend=attn.processor._attention_backend
    )


def feed_forward(mlp: Any, x: Tensor) -> Tensor:
    """The layer's MLP, writing over its own intermediate results."""
    if mlp.hidden_act == "relu2":
        return mlp.down_proj(mlp.up_proj(x).relu_().square_())
    return mlp.down_proj(silu(mlp.gate_proj(x), inplace=True).mul_(mlp.up_proj(x)))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding of `x` [..., heads, d]: halves turned against each other."""
    half = x.shape[-1] // 2
    turned = x * cos
    turned[..., :half] -= x[..., half:] * sin[..., :half]
    turned[..., half:] += x[..., :half] * sin[..., half:]
    return turned
