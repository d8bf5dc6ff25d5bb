"""No engine leaves anything on the pipeline, so one warm object serves them all, in any order and from two threads."""

import threading

import pytest
import torch

from strands_diffusers.pipelines.engine import Call, get_engine

pytestmark = pytest.mark.contract

ALL = frozenset({"video", "sound", "action"})


@pytest.mark.parametrize("condition", ["policy", "inverse_dynamics", "image"])
@pytest.mark.parametrize("engine", ["exact"])
def test_a_run_leaves_the_pipeline_as_it_was(engine, condition, fresh, ask, state_of):
    pipe = fresh(vae="wan22", sound=True)
    sound = {"enable_sound": True} if condition == "image" else {}
    before = state_of(pipe)

    get_engine(engine).run(pipe, Call(ask(condition, guidance_scale=2.0, **sound), ALL, (0, 1)))

    assert state_of(pipe) == before


@pytest.mark.parametrize("condition", ["policy", "text"])
def test_engines_serve_in_any_order(condition, fresh, ask, difference):
    pipe = fresh(vae="wan22", sound=True)
    call = Call(ask(condition, guidance_scale=2.0), ALL)
    order = ["exact", "eager", "exact", "eager", "exact"]

    samples = [get_engine(name).run(pipe, call)[0] for name in order]

    assert [difference(samples[0], other) for other in samples[1:]] == [0.0] * 4


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
