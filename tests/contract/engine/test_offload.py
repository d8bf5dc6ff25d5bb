"""accelerate's hooks fire though the engine calls parts of the model: tried with the CPU as the device that computes."""

import pytest
import torch

from strands_diffusers.pipelines.engine import Call, choose, get_engine

pytestmark = pytest.mark.contract

ALL = frozenset({"video", "sound", "action"})


def check(pipe, arguments, difference, expected):
    call = Call(arguments, ALL)
    engine, reason = choose("exact", pipe, call)
    assert reason is None
    for _ in range(2):
        assert difference(engine.run(pipe, call)[0], expected) == 0.0


@pytest.fixture
def arguments(ask):
    return ask("policy", guidance_scale=2.0)


@pytest.fixture
def expected(tiny, arguments):
    return get_engine("eager").run(tiny("nano"), Call(arguments, ALL))[0]


def test_sequential_offloading(fresh, arguments, expected, difference):
    from accelerate import cpu_offload

    pipe = fresh(vae="wan22", sound=True)
    for part in (pipe.transformer, pipe.vae):
        cpu_offload(part, execution_device=torch.device("cpu"), offload_buffers=False)
    assert pipe.transformer.layers[0].mlp.up_proj.weight.is_meta

    check(pipe, arguments, difference, expected)

    assert pipe.transformer.layers[0].mlp.up_proj.weight.is_meta
    assert pipe.transformer.action_modality_embed.is_meta


def test_sequential_offloading_with_sound(fresh, ask, tiny, difference):
    from accelerate import cpu_offload

    arguments = ask("image", enable_sound=True)
    expected = get_engine("eager").run(tiny("nano"), Call(arguments, ALL))[0]
    pipe = fresh(vae="wan22", sound=True)
    cpu_offload(pipe.transformer, execution_device=torch.device("cpu"))

    check(pipe, arguments, difference, expected)


@pytest.mark.filterwarnings("ignore:The following device_map keys do not match")  # they are parameters
def test_a_device_map_over_layers(fresh, arguments, expected, difference):
    from accelerate import dispatch_model

    pipe = fresh(vae="wan22", sound=True)
    names = [name for name, _ in pipe.transformer.named_children() if name != "layers"]
    names += ["layers.0", "layers.1", "action_modality_embed", "audio_modality_embed"]
    device_map = dict.fromkeys(names, "cpu")
    dispatch_model(pipe.transformer, device_map=device_map, main_device="cpu", force_hooks=True)
    assert "_hf_hook" in vars(pipe.transformer.layers[0])

    check(pipe, arguments, difference, expected)


def test_model_offloading_wakes_each_model_and_lets_the_one_before_go(fresh, arguments, expected, difference):
    from accelerate import cpu_offload_with_hook

    pipe = fresh(vae="wan22", sound=True)
    events = []
    _, hook = cpu_offload_with_hook(pipe.transformer, torch.device("cpu"))
    cpu_offload_with_hook(pipe.vae, torch.device("cpu"), prev_module_hook=hook)
    for name, part in (("transformer", pipe.transformer), ("vae", pipe.vae)):
        before = part._hf_hook.pre_forward

        def pre_forward(module, *args, before=before, name=name, **kwargs):
            events.append(name)
            return before(module, *args, **kwargs)

        part._hf_hook.pre_forward = pre_forward

    check(pipe, arguments, difference, expected)

    assert events[:3] == ["vae", "transformer", "vae"]  # encode, denoise, decode
