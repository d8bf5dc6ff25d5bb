"""The engines as far as a CPU goes: what they compute, where they refuse, and that they leave the pipeline as it was."""

import importlib.util
import sys
import types

import numpy as np
import pytest
import torch
from strands_diffusers_engines import compiled, engines
from strands_diffusers_engines.fp8 import mirror, quantised_layers

from strands_diffusers.errors import ConfigError, EngineError
from strands_diffusers.pipelines.engine import Call, choose, exact, get_engine, refuse_before_load
from strands_diffusers.pipelines.engine.attention import generation_layer

COSMOS3 = "Cosmos3OmniPipeline"
ALL = frozenset({"video", "sound", "action"})


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
        EngineError, match=r"need a CUDA device, and the model computes on cpu. Use engine=auto or eager"
    ):
        choose("fp8", tiny("nano"), Call(ask("policy"), frozenset({"action"})))


def test_compiled_is_refused_where_weights_move(fresh, ask):
    from accelerate import cpu_offload

    pipe = fresh(vae="wan22")
    cpu_offload(pipe.transformer, execution_device=torch.device("cpu"))

    with pytest.raises(EngineError, match="weights that are offloaded or spread over devices"):
        choose("compiled", pipe, Call(ask("policy"), frozenset({"action"})))


class Recorder:
    """A graph as CUDA's is: it reads the tensors that it was recorded with and writes over the result that it gave."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, function):
        self.recorded += 1
        result = function()

        def run_again() -> None:
            self.replayed += 1
            for kept, new in zip(result, function(), strict=True):
                if kept is not None:
                    kept.copy_(new)

        return result, run_again


class Engine(engines.CompiledEngine):
    """The compiled engine's graphs over the plain layer, on a CPU."""

    def denoiser(self, pipe, conditioning):
        c = conditioning
        return compiled.GraphedDenoiser(
            pipe.transformer, c.layout, c.domain, c.action_width, c.device, layer_function=generation_layer
        )


@pytest.mark.parametrize("seeds", [(3,), (3, 4, 5)])
@pytest.mark.parametrize("condition", ["policy", "forward_dynamics", "inverse_dynamics", "image", "text"])
def test_a_replayed_step_gives_what_the_step_itself_gives(condition, seeds, tiny, ask, difference, monkeypatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(compiled, "recorded", recorder)
    sound = {"enable_sound": True} if condition in ("image", "text") else {}
    call = Call(ask(condition, num_inference_steps=5, guidance_scale=2.0, **sound), ALL, seeds)

    found = Engine(samples_per_batch=2).run(tiny("nano"), call)

    expected = exact.ExactEngine(samples_per_batch=2).run(tiny("nano"), call)
    assert [difference(one, other) for one, other in zip(found, expected, strict=True)] == [0.0] * len(seeds)
    kinds = len({min(2, len(seeds) - i) for i in range(0, len(seeds), 2)})  # sizes of batches, each with two prompts
    assert recorder.recorded == 2 * kinds
    batches = -(-len(seeds) // 2)
    assert recorder.replayed == 2 * (5 * batches - kinds)  # all but the first step of each kind, which warms up


def test_a_large_canvas_is_not_replayed(tiny, ask, monkeypatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(compiled, "recorded", recorder)
    monkeypatch.setattr(compiled, "TOKENS_PER_GRAPH", 4)
    Engine().run(tiny("nano"), Call(ask("policy"), frozenset({"action"})))
    assert recorder.recorded == 0


@pytest.fixture
def card(monkeypatch):
    """A machine with one card of a given compute capability and 24 GB."""

    def make(capability: tuple[int, int]) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "NVIDIA Card")
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (24 * 10**9, 24 * 10**9))
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: types.SimpleNamespace(name=name))

    return make


@pytest.mark.parametrize("engine", ["compiled", "fp8"])
def test_with_an_automatic_device_the_card_is_what_counts(engine: str, card) -> None:
    card((9, 0))
    assert refuse_before_load(engine, "Cosmos3OmniPipeline", "policy", "auto") is None


def test_an_older_card_is_named(card) -> None:
    card((8, 0))
    assert "need compute capability 8.9 or newer, and NVIDIA Card is older" in refuse_before_load(
        "fp8", "Cosmos3OmniPipeline", "policy", "auto"
    )


def test_an_automatic_device_without_a_card_is_the_cpu() -> None:
    assert refuse_before_load("compiled", "Cosmos3OmniPipeline", "policy", "auto") is None
    assert "computes on cpu" in refuse_before_load("fp8", "Cosmos3OmniPipeline", "policy", "auto")


def test_a_step_cache_is_gone_after_its_run(fresh, ask, difference, state_of):
    pipe = fresh(vae="wan22", sound=True)
    call = Call(ask("policy", num_inference_steps=6), ALL)
    [reference] = get_engine("eager").run(pipe, call)  # leaves what diffusers' own call leaves
    before = state_of(pipe)

    [cached] = get_engine("cached").run(pipe, call)

    after = state_of(pipe)
    for name in (
        "_guidance_scale",
        "_num_timesteps",
        "_current_timestep",
        "_mixed_precision_config",
        "_mixed_precision_trace",
    ):
        before.pop(("pipe", name), None)
        after.pop(("pipe", name), None)
    before.pop("scheduler")
    after.pop("scheduler")
    assert after == before
    assert not pipe.transformer.is_cache_enabled
    assert cached.action.shape == reference.action.shape
    assert difference(get_engine("exact").run(pipe, call)[0], reference) == 0.0


def test_a_step_cache_is_gone_after_a_run_that_failed(fresh, ask):
    pipe = fresh(vae="wan22")

    with pytest.raises(ValueError, match="height"):
        get_engine("cached").run(pipe, Call(ask("text", height=13), ALL))

    assert not pipe.transformer.is_cache_enabled


@pytest.mark.parametrize("name", ["compiled", "cached"])
def test_before_the_load_nothing_is_said_where_it_may_work(name):
    assert refuse_before_load(name, COSMOS3, "policy", "cpu") is None


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("cached", (COSMOS3, "inverse_dynamics", "cpu"), "latents of the video never change"),
        ("cached", ("WanPipeline", "text", "cpu"), "this model is a WanPipeline. Use engine=auto or eager."),
        ("fp8", (COSMOS3, "policy", "cpu"), "need a CUDA device, and the model computes on cpu"),
        ("compiled", (COSMOS3, "policy", "cpu", "auto", "group"), "group offloading"),
        ("compiled", (COSMOS3, "policy", "cpu", "auto", "model"), "model.offload=model"),
    ],
)
def test_before_the_load_it_says_what_can_serve(name, arguments, says):
    reason = refuse_before_load(name, *arguments)

    assert says in reason
    assert "eager" in reason


def test_what_compiling_is_untested_for_is_named():
    assert "compiling for mps is untested" in engines.refuse_to_compile("mps")


def test_fp8_names_the_package_that_it_lacks():
    if importlib.util.find_spec("torchao") is not None:
        pytest.skip("torchao is installed")

    assert "pip install torchao" in engines.refuse_8_bits("cuda:0")


@pytest.mark.parametrize("threshold", [0, -1, float("inf"), float("nan")])
def test_a_threshold_that_is_none_is_refused(threshold):
    with pytest.raises(ConfigError, match=r"Use engine\.threshold=0\.25"):
        engines.CachedEngine.Config(threshold=threshold)


def test_a_graph_is_recorded_inside_its_capture_and_replayed_after_it(monkeypatch):
    """The one function that talks to CUDA's graphs, with the order of its calls watched."""
    events = []

    class Graph:
        def replay(self):
            events.append("replay")

    class Capture:
        def __init__(self, graph):
            self.graph = graph

        def __enter__(self):
            events.append("begin")

        def __exit__(self, *error):
            events.append("end")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", Capture)
    result, run_again = compiled.recorded(lambda: events.append("function") or "result")
    run_again()
    run_again()

    assert result == "result"
    assert events == ["begin", "function", "end", "replay", "replay"]


def test_inputs_are_copied_before_a_replay_and_the_first_step_is_not_recorded(tiny, ask, monkeypatch):
    """Step 1 of a prompt runs as it is, which warms up; step 2 is recorded; every later one copies its inputs, then replays."""
    events, inputs = [], []

    def recorded(function):
        events.append("record")

        def run_again():
            events.append("replay")
            inputs.append(float(function.__closure__[0].cell_contents[0].sum()))
            for kept, new in zip(result, function(), strict=True):
                if kept is not None:
                    kept.copy_(new)

        result = function()
        return result, run_again

    plain = compiled.Denoiser.velocity
    monkeypatch.setattr(compiled, "recorded", recorded)
    monkeypatch.setattr(compiled.Denoiser, "velocity", lambda *a: events.append("run") or plain(*a))
    Engine().run(tiny("nano"), Call(ask("policy", num_inference_steps=4), frozenset({"action"})))

    assert events == ["run", "record", "run", "replay", "run", "replay", "run", "replay", "run"]
    assert len(set(inputs)) == 3  # each replay saw latents of its own


@pytest.mark.parametrize(("hidden_act", "matrices"), [("silu", 7), ("relu2", 6)])
def test_quantising_takes_the_generation_s_matrices_and_leaves_the_process_s_settings(
    hidden_act, matrices, fresh, monkeypatch
):
    """torchao itself quantises on a card alone; what it is asked for is the same everywhere."""
    asked = {}

    def quantize_(layer, config, filter_fn):
        asked["config"] = config
        asked["names"] = [name for name, module in layer.named_modules() if filter_fn(module, name)]

    torchao = types.SimpleNamespace(
        quantize_=quantize_, PerRow=lambda: "rows", Float8DynamicActivationFloat8WeightConfig=lambda **options: options
    )
    pipe = fresh(vae="wan22", hidden_act=hidden_act)  # before: diffusers looks for the real one when it is imported
    monkeypatch.setitem(sys.modules, "torchao", types.SimpleNamespace(quantization=torchao))
    monkeypatch.setitem(sys.modules, "torchao.quantization", torchao)
    copies = quantised_layers(pipe.transformer)

    assert asked["config"] == {"granularity": "rows", "set_inductor_config": False}
    assert len(asked["names"]) == matrices
    assert all(name.startswith(("self_attn.add_", "self_attn.to_add_out", "mlp_moe_gen.")) for name in asked["names"])
    assert quantised_layers(pipe.transformer) is copies
    assert copies[0] is not pipe.transformer.layers[0]
