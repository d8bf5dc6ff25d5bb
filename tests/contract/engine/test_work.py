"""What is not needed is not computed: counted on the modules of a real pipeline."""

import contextlib

import pytest

from strands_diffusers.config.engines import ExactEngineConfig
from strands_diffusers.memory import Memory
from strands_diffusers.pipelines.engine import Call, forget, get_engine
from strands_diffusers.pipelines.engine.exact import ExactEngine
from strands_diffusers.pipelines.engine.memory import memory_of

pytestmark = pytest.mark.contract


@contextlib.contextmanager
def counted(pipe):
    """Count the calls of the VAE's halves and of the text stream's key projection, and the frames that are encoded."""
    counts = {"encoded": 0, "decoded": 0, "text": 0, "steps": 0}

    def encoded(_, inputs, __):
        counts["encoded"] += inputs[0].shape[2]

    def count(name):
        def hook(*_):
            counts[name] += 1

        return hook

    layer = pipe.transformer.layers[0].self_attn
    handles = [
        pipe.vae.encoder.register_forward_hook(encoded),
        pipe.vae.decoder.register_forward_hook(count("decoded")),
        layer.to_k.register_forward_hook(count("text")),
        layer.add_k_proj.register_forward_hook(count("steps")),
    ]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


def run(pipe, arguments, *wanted, seeds=(0,)):
    return get_engine("exact").run(pipe, Call(arguments, frozenset(wanted), seeds))


@pytest.mark.parametrize(
    ("condition", "changes", "frames"),
    [
        ("policy", {}, 1),
        ("forward_dynamics", {}, 1),
        ("inverse_dynamics", {}, 9),
        ("image", {}, 1),
        ("image", {"num_frames": 1}, 0),
        ("video", {}, 5),
        ("video", {"condition_frame_indexes_vision": (0, 2)}, 9),
        ("text", {}, 0),
    ],
)
def test_only_the_frames_that_condition_are_encoded(condition, changes, frames, tiny, ask):
    forget(tiny("nano"))
    with counted(tiny("nano")) as counts:
        run(tiny("nano"), ask(condition, **changes), "action")

    assert counts["encoded"] == frames
    assert counts["decoded"] == 0


def test_the_video_is_decoded_where_somebody_wants_it(tiny, ask):
    with counted(tiny("nano")) as counts:
        [sample] = run(tiny("nano"), ask("policy"), "video")

    assert counts["decoded"] == 3  # latent frames
    assert sample.video.shape == (9, 48, 64, 3)


@pytest.mark.parametrize("per_batch", [1, 2])
@pytest.mark.parametrize(("guidance", "prompts"), [(1.0, 1), (3.0, 2)])
def test_each_prompt_is_read_once_and_the_negative_one_only_under_guidance(guidance, prompts, per_batch, tiny, ask):
    forget(tiny("nano"))
    call = Call(ask("policy", guidance_scale=guidance), frozenset({"action"}), (0, 1))
    with counted(tiny("nano")) as counts:
        ExactEngine(samples_per_batch=per_batch).run(tiny("nano"), call)

    assert counts["text"] == prompts
    assert counts["steps"] in (
        3 * prompts,
        2 * 3 * prompts,
    )  # both samples in a batch, where the machine's bits allow it


def test_n_prompts_on_one_observation_encode_it_once(tiny, ask):
    forget(tiny("nano"))
    with counted(tiny("nano")) as counts:
        for prompt in ("Lift.", "Push.", "Pull.", "Lift."):
            run(tiny("nano"), ask("policy", prompt=prompt), "action")

    assert counts["encoded"] == 1
    assert counts["text"] == 3


def test_forward_dynamics_and_policy_share_their_first_frame(tiny, ask):
    forget(tiny("nano"))
    with counted(tiny("nano")) as counts:
        run(tiny("nano"), ask("policy"), "action")
        run(tiny("nano"), ask("forward_dynamics"), "action")

    assert counts["encoded"] == 1


def test_other_frames_another_tier_or_another_number_of_frames_are_not_taken_for_the_same(tiny, ask, clip):
    forget(tiny("nano"))
    with counted(tiny("nano")) as counts:
        for changes in ({}, {"video": clip(seed=1)}, {"resolution_tier": 480}, {"chunk_size": 4}):
            run(tiny("nano"), ask("policy", **changes), "action")

    assert counts["encoded"] == 4


def test_written_weights_are_read_anew(fresh, ask, difference):
    pipe = fresh(vae="wan22")
    arguments = ask("policy")

    def check():
        call = Call(arguments, frozenset({"video", "action"}), (0,))
        return difference(get_engine("eager").run(pipe, call)[0], get_engine("exact").run(pipe, call)[0])

    assert check() == 0.0
    for part in (pipe.vae, pipe.transformer):
        for weight in part.parameters():
            weight.data.mul_(1.01)  # through .data, which PyTorch does not count: as averaged weights are swapped in
        assert check() == 0.0
    pipe.transformer.layers[1].mlp.up_proj.weight.requires_grad_(False).mul_(1.5)  # which PyTorch counts
    assert check() == 0.0


def test_the_memory_is_bounded_and_forgets_the_least_recently_used(tiny, ask):
    pipe, engine = tiny("nano"), get_engine("exact")
    forget(pipe)
    engine.run(pipe, Call(ask("policy"), frozenset(), (0,)))
    used = memory_of(pipe, engine.config.cache_mb * 1024**2).bytes
    assert used > 0

    small = get_engine("exact", ExactEngineConfig(cache_mb=0))
    small.run(pipe, Call(ask("policy"), frozenset(), (0,)))
    assert memory_of(pipe, 0).bytes == 0

    import torch

    memory = Memory(3 * 400)
    for key in "abc":
        memory.get_or_make(key, lambda: torch.zeros(100))
    memory.get_or_make("a", lambda: pytest.fail("a is there"))
    memory.get_or_make("d", lambda: torch.zeros(100))
    memory.get_or_make("c", lambda: pytest.fail("c is there"))
    made = []
    memory.get_or_make("b", lambda: made.append("b") or torch.zeros(100))
    assert made == ["b"]
    assert memory.bytes == 1200
    memory.get_or_make("too large", lambda: torch.zeros(1000))
    assert memory.bytes == 1200


def test_the_memory_goes_with_its_pipeline(fresh, ask):
    import gc

    from strands_diffusers.pipelines.engine import memory

    pipe = fresh(vae="wan22")
    run(pipe, ask("policy"), "action")
    before = len(memory._memories)
    del pipe
    gc.collect()

    assert len(memory._memories) == before - 1


def test_seconds_are_told_stage_by_stage_and_shared_among_samples(tiny, ask):
    samples = run(tiny("nano"), ask("policy"), "video", seeds=(0, 1))

    assert set(samples[0].seconds) == {"encode", "text", "denoise", "decode"}
    assert samples[0].seconds == samples[1].seconds
    assert all(value >= 0 for value in samples[0].seconds.values())
