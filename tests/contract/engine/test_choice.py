"""Which engine runs, and what it says where it cannot."""

import pytest
import torch

from strands_diffusers.errors import EngineError
from strands_diffusers.pipelines.engine import Call, choose, get_engine, refuse_before_load

pytestmark = pytest.mark.contract

WANTED = frozenset({"video", "action"})


def test_auto_is_exact_where_it_holds(tiny, ask):
    engine, reason = choose("auto", tiny("nano"), Call(ask("policy"), WANTED))

    assert (engine.name, reason) == ("exact", None)


def test_auto_is_eager_with_a_reason_for_any_other_pipeline():
    from diffusers import WanPipeline

    engine, reason = choose("auto", WanPipeline.__new__(WanPipeline), Call({"prompt": ""}, WANTED))

    assert engine.name == "eager"
    assert "Cosmos3OmniPipeline alone, and this model is a WanPipeline" in reason


def refusal(pipe, call):
    with pytest.raises(EngineError, match=r"^engine=exact cannot hold here: ") as caught:
        choose("exact", pipe, call)
    assert choose("auto", pipe, call)[0].name == "eager"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_another_attention_processor_is_named(fresh, ask):
    from diffusers.models.transformers.transformer_cosmos3 import Cosmos3AttnProcessor

    class Mine(Cosmos3AttnProcessor):
        pass

    pipe = fresh(vae="wan22")
    pipe.transformer.layers[1].self_attn.set_processor(Mine())

    assert "the attention processor of layer 1 is Mine." in refusal(pipe, Call(ask("policy"), WANTED))


def test_context_parallelism_is_named(fresh, ask):
    pipe = fresh(vae="wan22")
    pipe.transformer._cp_shard_fn = lambda *a: a

    assert "context parallelism" in refusal(pipe, Call(ask("policy"), WANTED))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.layers[0].register_forward_hook(lambda *_: None), "a forward hook is registered on layers.0."),
        (
            lambda t: t.layers[0].mlp_moe_gen.register_forward_pre_hook(lambda *_: None),
            "registered on layers.0.mlp_moe_gen",
        ),
        (lambda t: setattr(t.layers[0], "forward", lambda *a: a), "the forward of layers.0 was replaced."),
        (lambda t: t.layers[0].compile(backend="eager"), "layers.0 was compiled in place"),
        (lambda t: t.enable_cache(sea_cache()), "a step cache is enabled"),
        (lambda t: t.enable_layerwise_casting(torch.float8_e4m3fn, torch.float32), "diffusers hooks are active"),
    ],
)
def test_what_sits_around_a_part_of_the_transformer_is_named(change, says, fresh, ask):
    pipe = fresh(vae="wan22")
    change(pipe.transformer)

    assert says in refusal(pipe, Call(ask("policy"), WANTED))


def test_a_replaced_method_is_named(fresh, ask):
    pipe = fresh(vae="wan22")
    pipe._encode_video = type(pipe)._encode_video.__get__(pipe)
    assert "Cosmos3OmniPipeline._encode_video was replaced on this pipeline." in refusal(
        pipe, Call(ask("policy"), WANTED)
    )
    del pipe._encode_video
    pipe.vae.decode = type(pipe.vae).decode.__get__(pipe.vae)
    assert "AutoencoderKLWan.decode was replaced on this pipeline." in refusal(pipe, Call(ask("policy"), WANTED))


def sea_cache():
    from diffusers import SeaCacheConfig

    return SeaCacheConfig()


def test_group_offloading_is_named(fresh, ask):
    from diffusers.hooks import apply_group_offloading

    pipe = fresh(vae="wan22")
    cpu = torch.device("cpu")
    apply_group_offloading(pipe.transformer, onload_device=cpu, offload_device=cpu, offload_type="leaf_level")

    assert "diffusers hooks are active" in refusal(pipe, Call(ask("policy"), WANTED))


def test_mixed_fp8_precision_is_named(fresh, ask):
    from diffusers.pipelines.cosmos.mixed_precision import FIRST_LAST_N_FP8_POLICY

    pipe = fresh(vae="wan22")
    quantization = {
        "quant_method": "modelopt",
        "quant_algo": "FP8",
        "runtime": {"diffusion_step_policy": FIRST_LAST_N_FP8_POLICY},
    }
    pipe.transformer.quantization_config = quantization

    line = refusal(pipe, Call(ask("policy"), WANTED))
    assert "mixed FP8 precision" in line
    assert "the price is text, frames and video worked out in full" in line
    off = Call(ask("policy", mixed_precision_format="none"), WANTED)
    assert choose("exact", pipe, off)[1] is None


def test_arguments_that_it_has_no_place_for_are_named(tiny, ask):
    for name, value in {"latents": torch.zeros(1), "callback_on_step_end": print, "output_type": "np"}.items():
        assert f"the argument {name} is" in refusal(tiny("nano"), Call({**ask("policy"), name: value}, WANTED))
    assert "takes no argument steps." in refusal(tiny("nano"), Call({**ask("policy"), "steps": 3}, WANTED))


def test_autocast_is_named(tiny, ask):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "torch.autocast is on." in refusal(tiny("nano"), Call(ask("policy"), WANTED))


def test_an_unknown_engine_gets_a_near_miss():
    with pytest.raises(
        EngineError, match=r"engine=exakt is not an engine. Did you mean 'exact'\? Use one of auto, exact, eager"
    ):
        get_engine("exakt")


@pytest.mark.parametrize("name", ["auto", "exact", "eager"])
def test_before_the_load_nothing_is_said_where_it_may_work(name):
    assert refuse_before_load(name, "Cosmos3OmniPipeline", "policy", "cpu") is None


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("exact", ("WanPipeline", "text", "cpu"), "this model is a WanPipeline. Use engine=auto or eager."),
        ("exact", ("Cosmos3OmniPipeline", "policy", "cuda:0", "bfloat16", "group"), "group offloading"),
        ("exakt", ("Cosmos3OmniPipeline", "policy", "cpu"), "Did you mean 'exact'?"),
    ],
)
def test_before_the_load_it_says_what_can_serve(name, arguments, says):
    reason = refuse_before_load(name, *arguments)

    assert says in reason
    assert "eager" in reason
