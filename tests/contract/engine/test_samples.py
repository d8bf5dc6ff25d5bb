"""Several samples of one call: each is the sample that its seed gives alone, drawn together or one after the other."""

import time

import numpy as np
import pytest
import torch

from strands_diffusers.pipelines.arguments import one_by_one
from strands_diffusers.pipelines.engine import Call, get_engine
from strands_diffusers.pipelines.engine.exact import ExactEngine, batch_size

pytestmark = pytest.mark.contract

ALL = frozenset({"video", "sound", "action"})
SEEDS = (5, 6, 7, 8)


def alone(pipe, arguments):
    return [get_engine("exact").run(pipe, Call(arguments, ALL, (seed,)))[0] for seed in SEEDS]


@pytest.mark.parametrize("condition", ["policy", "inverse_dynamics", "image"])
def test_one_after_the_other_they_have_the_bits_of_single_runs(condition, tiny, ask, difference):
    arguments = ask(condition, guidance_scale=2.0)
    samples = ExactEngine(samples_per_batch=1).run(tiny("nano"), Call(arguments, ALL, SEEDS))

    assert [difference(a, b) for a, b in zip(samples, alone(tiny("nano"), arguments), strict=True)] == [0.0] * 4


@pytest.mark.parametrize(
    ("layout", "condition"),
    [
        *(("nano", condition) for condition in ("policy", "forward_dynamics", "inverse_dynamics", "image", "text")),
        *(("und_norm", "policy"), ("patch_one", "inverse_dynamics")),
    ],
)
def test_in_batches_they_equal_single_runs_to_1e_5(condition, layout, tiny, ask):
    sound = {"enable_sound": True} if layout == "nano" and condition in ("image", "text") else {}
    arguments = ask(condition, guidance_scale=2.0, **sound)
    samples = ExactEngine(samples_per_batch=3).run(tiny(layout), Call(arguments, ALL, SEEDS))  # 3 and a last batch of 1

    for one, many in zip(alone(tiny(layout), arguments), samples, strict=True):
        if one.action is not None:
            np.testing.assert_allclose(many.action, one.action, rtol=0, atol=1e-5)
        if one.sound is not None:
            np.testing.assert_allclose(many.sound, one.sound, rtol=0, atol=1e-5)
        assert np.abs(many.video.astype(int) - one.video).max() <= 1  # 1e-5 may round to the next of 255 levels


def test_bfloat16_in_batches_stays_within_its_rounding(fresh, ask):
    """What a kernel of another shape costs in bf16: the bound that `exact` has on CUDA too."""
    pipe = fresh(vae="wan22").to(torch.bfloat16)
    arguments = ask("policy")
    one, many = (ExactEngine(samples_per_batch=n).run(pipe, Call(arguments, ALL, SEEDS)) for n in (1, 4))

    for a, b in zip(one, many, strict=True):
        assert np.abs(a.action - b.action).max() <= 2**-6 * np.abs(a.action).max()
        assert np.abs(a.video.astype(int) - b.video).mean() <= 1


def test_samples_differ_and_keep_the_order_of_their_seeds(tiny, ask):
    arguments = ask("policy")
    forwards, backwards = (
        get_engine("exact").run(tiny("nano"), Call(arguments, frozenset({"action"}), seeds))
        for seeds in (SEEDS, SEEDS[::-1])
    )

    for a, b in zip(forwards, reversed(backwards), strict=True):
        np.testing.assert_array_equal(a.action, b.action)
    assert np.abs(forwards[0].action - forwards[1].action).max() > 0.1


def test_eager_draws_the_same_samples(tiny, ask, difference):
    call = Call(ask("policy", num_inference_steps=2), ALL, (1, 2))
    eager, exact = (get_engine(name).run(tiny("nano"), call) for name in ("eager", "exact"))

    assert [difference(a, b) for a, b in zip(eager, exact, strict=True)] == [0.0, 0.0]


def test_together_they_take_no_longer_than_alone(tiny, ask):
    pipe, engine = tiny("nano"), get_engine("exact")
    arguments, wanted = ask("policy", num_inference_steps=6), frozenset({"action"})
    engine.run(pipe, Call(arguments, wanted, (0,)))

    def seconds(calls):
        started = time.process_time()
        for call in calls:
            engine.run(pipe, call)
        return time.process_time() - started

    together, apart = [], []
    for _ in range(3):  # the least of up to three
        together.append(seconds([Call(arguments, wanted, tuple(range(8)))]))
        apart.append(seconds([Call(arguments, wanted, (seed,)) for seed in range(8)]))
        if min(together) <= 1.05 * min(apart):
            break
    assert min(together) <= 1.05 * min(apart)


def test_an_accelerator_gets_batches_of_bounded_size():
    class Condition:
        device = torch.device("cuda")

        class layout:  # noqa: N801
            tokens = 1516

    assert batch_size(Condition) == 10
    Condition.layout.tokens = 43_000
    assert batch_size(Condition) == 1
    Condition.device = torch.device("cpu")
    Condition.layout.tokens = 10
    assert batch_size(Condition) == 204


def test_progress_counts_all_steps_of_all_batches(tiny, ask):
    for name, total in (("exact", 3), ("eager", 6)):  # one batch of two, two calls
        seen = []
        call = Call(ask("policy", num_inference_steps=3), frozenset({"action"}), (0, 1))
        get_engine(name).run(tiny("nano"), call, progress=lambda done, of, seen=seen: seen.append((done, of)))

        assert {of for _, of in seen} == {total}
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        assert seen[-1] == (total, total)


def test_action_chunks_of_one_condition_are_a_batch_with_the_bits_of_single_calls(tiny, ask):
    arguments = ask("forward_dynamics")
    given = arguments["action"].raw_actions.numpy()
    chunks = np.stack([given * size for size in np.linspace(-1, 1, 8)]).astype(np.float32)
    pipe, seeds = tiny("nano"), (3,) * 8
    calls = list(one_by_one(Call(arguments, ALL, seeds, chunks)))

    for _ in range(2):  # the second time without a proof
        together = get_engine("exact").run(pipe, Call(arguments, ALL, seeds, chunks))
        apart = [get_engine("exact").run(pipe, call)[0] for call in calls]
        for one, other in zip(together, apart, strict=True):
            np.testing.assert_array_equal(one.video, other.video)
    assert np.abs(together[0].video.astype(int) - together[7].video).max() > 0


def test_samples_of_which_one_alone_has_other_bits_are_denoised_one_by_one(tiny, ask, monkeypatch):
    from strands_diffusers.pipelines.engine.denoiser import Denoiser

    velocity, batches = Denoiser.velocity, []

    def rounded(self, state, *others):
        batches.append(len(state.vision))
        found = velocity(self, state, *others)
        return found._replace(vision=found.vision * (1 + 1e-6 * len(state.vision)))

    monkeypatch.setattr(Denoiser, "velocity", rounded)
    monkeypatch.setattr("strands_diffusers.pipelines.engine.samebits._proven", {})
    call = Call(ask("policy", num_inference_steps=2), ALL, SEEDS[:3])
    samples = get_engine("exact").run(tiny("und_norm"), call)
    ran = batches[-6:]
    one = get_engine("exact").run(tiny("und_norm"), Call(call.arguments, ALL, SEEDS[:1]))[0]

    assert ran == [1] * 6
    np.testing.assert_array_equal(samples[0].action, one.action)
