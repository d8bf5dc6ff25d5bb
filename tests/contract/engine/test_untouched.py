"""No engine leaves anything on the pipeline, so one warm object serves them all, in any order and from two threads."""

import threading

import pytest
import torch

from strands_diffusers.pipelines.engine import Call, get_engine

pytestmark = pytest.mark.contract

ALL = frozenset({"video", "sound", "action"})


def state_of(pipe):
    """Everything on a pipeline that a run could change: attributes, parameters and how often each was written."""
    found = {("pipe", name): id(value) for name, value in vars(pipe).items()}
    found["scheduler"] = {name: repr(value) for name, value in vars(pipe.scheduler).items()}
    for part in (pipe.transformer, pipe.vae, pipe.sound_tokenizer):
        for name, module in part.named_modules():
            found[type(part).__name__, name] = sorted(vars(module))
            found[type(part).__name__, name, "forward"] = id(getattr(vars(module).get("forward"), "__func__", None))
        for name, weight in part.named_parameters():
            found[type(part).__name__, name, "weight"] = (id(weight), weight._version, weight.requires_grad)
    return found


@pytest.mark.parametrize("condition", ["policy", "inverse_dynamics", "image"])
@pytest.mark.parametrize("engine", ["exact"])
def test_a_run_leaves_the_pipeline_as_it_was(engine, condition, fresh, ask):
    pipe = fresh(vae="wan22", sound=True)
    sound = {"enable_sound": True} if condition == "image" else {}
    before = state_of(pipe)

    get_engine(engine).run(pipe, Call(ask(condition, guidance_scale=2.0, **sound), ALL, (0, 1)))

    assert state_of(pipe) == before


def test_a_step_cache_is_gone_after_its_run(fresh, ask, difference):
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


@pytest.mark.parametrize("condition", ["policy", "text"])
def test_engines_serve_in_any_order(condition, fresh, ask, difference):
    pipe = fresh(vae="wan22", sound=True)
    call = Call(ask(condition, guidance_scale=2.0), ALL)
    order = ["exact", "eager", "cached", "exact", "eager", "exact"]

    samples = [get_engine(name).run(pipe, call)[0] for name in order]

    exact = [sample for name, sample in zip(order, samples, strict=True) if name != "cached"]
    assert [difference(exact[0], other) for other in exact[1:]] == [0.0] * 4


def test_two_threads_share_one_pipeline(fresh, ask, difference):
    pipe = fresh(vae="wan22", sound=True)
    calls = [
        Call(ask(condition, guidance_scale=2.0), ALL, (7,))
        for condition in ("policy", "image", "inverse_dynamics", "video")
    ]
    engine = get_engine("exact")
    alone = [get_engine("exact").run(pipe, call)[0] for call in calls]
    found = {}

    def work(indices):
        torch.set_grad_enabled(True)
        for index in indices:
            found[index] = engine.run(pipe, calls[index])[0]

    threads = [threading.Thread(target=work, args=(order,)) for order in ((0, 1), (2, 3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [difference(found[i], alone[i]) for i in range(4)] == [0.0] * 4


def test_a_run_that_fails_says_what_diffusers_says(tiny, ask):
    with pytest.raises(ValueError, match=r"`height` and `width` must be multiples of 16, got \(13, 80\)"):
        get_engine("exact").run(tiny("nano"), Call(ask("text", height=13), ALL))
