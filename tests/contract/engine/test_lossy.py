"""The lossy engines as far as a CPU goes: what they compute, and that they leave the pipeline as it was."""

import numpy as np
import pytest
import torch

from strands_diffusers.errors import EngineError
from strands_diffusers.pipelines.engine import Call, choose, get_engine
from strands_diffusers.pipelines.engine.attention import generation_layer
from strands_diffusers.pipelines.engine.fp8 import mirror

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("layout", ["nano", "nemotron", "und_norm"])
@pytest.mark.parametrize("pruned", [False, True])
def test_a_layer_is_traced_whole(layout, pruned, tiny):
    """`fullgraph` leaves nothing to Python: traced without a compiler, the layer gives its own numbers."""
    layer = tiny(layout).transformer.layers[0]
    attn, length, tokens = layer.self_attn, 7, 12
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, attn.hidden_size, generator=generator)
    keys, values = torch.randn(2, 1, length, attn.num_key_value_heads, attn.head_dim, generator=generator)
    cos, sin = torch.randn(2, tokens, 1, attn.head_dim, generator=generator)
    rows = torch.tensor([1, 5, 11]) if pruned else None
    torch._dynamo.reset()
    compiled = torch.compile(generation_layer, fullgraph=True, backend="eager")

    with torch.no_grad():
        expected = generation_layer(layer, x, keys, values, cos, sin, rows)
        found = compiled(layer, x, keys, values, cos, sin, rows)

    torch.testing.assert_close(found, expected)
    if pruned:
        torch.testing.assert_close(expected, generation_layer(layer, x, keys, values, cos, sin)[rows])


def test_a_cached_run_is_close_to_the_exact_one_and_not_for_inverse_dynamics(tiny, ask):
    call = Call(ask("policy", num_inference_steps=8), frozenset({"action"}))
    [cached] = get_engine("cached").run(tiny("nano"), call)
    [exact] = get_engine("exact").run(tiny("nano"), call)

    assert cached.video is None  # not wanted
    assert 0 < np.abs(cached.action - exact.action).max() < 0.1 * np.abs(exact.action).max()
    with pytest.raises(EngineError, match="latents of the video never change"):
        choose("cached", tiny("nano"), Call(ask("inverse_dynamics"), frozenset({"action"})))


def test_a_mirrored_layer_shares_its_weights_and_nothing_else(tiny):
    layer = tiny("nano").transformer.layers[0]
    twin = mirror(layer)

    assert twin.mlp_moe_gen.up_proj.weight is layer.mlp_moe_gen.up_proj.weight
    twin.mlp_moe_gen.up_proj.weight = torch.nn.Parameter(torch.zeros(1))
    twin.self_attn.add_module("more", torch.nn.Identity())
    assert layer.mlp_moe_gen.up_proj.weight.numel() > 1
    assert not hasattr(layer.self_attn, "more")


def test_fp8_is_refused_on_a_cpu_with_what_can_serve(tiny, ask):
    with pytest.raises(
        EngineError, match=r"need a CUDA device, and the model computes on cpu. Use engine=auto, exact or eager"
    ):
        choose("fp8", tiny("nano"), Call(ask("policy"), frozenset({"action"})))


def test_compiled_is_refused_where_weights_move(fresh, ask):
    from accelerate import cpu_offload

    pipe = fresh(vae="wan22")
    cpu_offload(pipe.transformer, execution_device=torch.device("cpu"))

    with pytest.raises(EngineError, match="weights that are offloaded or spread over devices"):
        choose("compiled", pipe, Call(ask("policy"), frozenset({"action"})))
