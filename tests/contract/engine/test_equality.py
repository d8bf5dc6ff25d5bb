"""`exact` draws what diffusers' own call draws, bit for bit on a CPU in float32."""

import functools

import numpy as np
import pytest
import torch

from strands_diffusers.pipelines.engine import Call, choose, forget, get_engine

pytestmark = pytest.mark.contract

ALL = frozenset({"video", "sound", "action", "image"})
CONDITIONS = ("policy", "forward_dynamics", "inverse_dynamics", "text", "image", "video")
LAYOUTS = [
    *(("nano", 1.0), ("nano", 3.0), ("und_norm", 1.0), ("und_norm", 3.0)),
    *(("nemotron", 3.0), ("plain_text", 1.0), ("patch_one", 3.0), ("wan21", 1.0)),
]


@pytest.fixture
def ask(ask):
    """Two steps where a test names no other number: what more of them do is the same everywhere, and tried on a policy."""
    return functools.partial(asked, ask)


def asked(ask, condition, **changes):
    return ask(condition, **{"num_inference_steps": 2, **changes})


def both(pipe, arguments, seed=3):
    """The same call by diffusers and by the exact engine, which must not refuse it."""
    call = Call(arguments, ALL, (seed,))
    engine, reason = choose("exact", pipe, call)
    assert reason is None
    [eager] = get_engine("eager").run(pipe, call)
    [exact] = engine.run(pipe, call)
    return eager, exact


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize(("layout", "guidance"), LAYOUTS)
def test_every_condition_of_every_layout_gives_the_bits_of_diffusers(
    layout, condition, guidance, tiny, ask, difference
):
    eager, exact = both(tiny(layout), ask(condition, guidance_scale=guidance))

    assert difference(eager, exact) == 0.0
    assert eager.video.std() > 1  # not a blank screen


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("condition", ["policy", "forward_dynamics", "inverse_dynamics", "text", "image", "video"])
def test_sound_is_denoised_with_the_video_bit_for_bit(condition, guidance, tiny, ask, difference):
    eager, exact = both(tiny("nano"), ask(condition, guidance_scale=guidance, enable_sound=True))

    assert exact.sound.ndim == 2
    assert exact.sound.shape[1] == 2
    assert difference(eager, exact) == 0.0


@pytest.mark.parametrize("layout", ["nano", "wan21"])
def test_one_frame_is_an_image(layout, tiny, ask, difference):
    eager, exact = both(tiny(layout), ask("text", num_frames=1, guidance_scale=4.0))

    assert exact.video.shape == (1, 48, 80, 3)
    assert difference(eager, exact) == 0.0


@pytest.mark.parametrize(("layout", "height", "width"), [("nano", 48, 80), ("nano", 16, 112), ("wan21", 40, 56)])
def test_latents_of_odd_size_are_padded_to_the_patch(layout, height, width, tiny, ask, difference):
    eager, exact = both(tiny(layout), ask("image", height=height, width=width, num_frames=5))

    assert difference(eager, exact) == 0.0


@pytest.mark.parametrize(
    "changes",
    [
        {"condition_frame_indexes_vision": (0,)},
        {"condition_frame_indexes_vision": [2, 0]},
        {"condition_frame_indexes_vision": (4,), "condition_video_keep": "last"},
        {"condition_video_keep": "last"},
        {"num_frames": 21, "condition_frame_indexes_vision": (0, 3)},  # the clip is shorter than what conditions
        {"num_frames": 6},  # the last frame makes no whole latent frame
    ],
    ids=str,
)
def test_whatever_part_of_a_video_conditions(changes, tiny, ask, difference):
    eager, exact = both(tiny("nano"), ask("video", **changes))

    assert difference(eager, exact) == 0.0


@pytest.mark.parametrize("condition", ["policy", "forward_dynamics", "inverse_dynamics"])
@pytest.mark.parametrize("size", [(700, 500), (240, 427), (33, 50)])
def test_any_source_size_goes_through_the_same_transform(condition, size, tiny, ask, clip, difference):
    video = clip(5, *size)
    eager, exact = both(tiny("nano"), ask(condition, video=video, chunk_size=4, num_inference_steps=1))

    assert difference(eager, exact) == 0.0


@pytest.mark.parametrize("chunk_size", [1, 5, 12])
@pytest.mark.parametrize("condition", ["policy", "forward_dynamics", "inverse_dynamics"])
def test_any_chunk_size_with_a_clip_too_short_or_too_long(condition, chunk_size, tiny, ask, difference):
    eager, exact = both(tiny("nano"), ask(condition, chunk_size=chunk_size))

    assert difference(eager, exact) == 0.0


@pytest.mark.parametrize("kind", ["image", "array", "tensor", "list of arrays"])
def test_any_kind_of_clip(kind, tiny, ask, clip, difference):
    frames = np.stack([np.asarray(frame) for frame in clip()]).astype(np.float32) / 255
    changes = {
        "image": {"image": clip()[0], "video": None},
        "array": {"video": frames[None]},
        "tensor": {"video": torch.from_numpy(frames).permute(0, 3, 1, 2)[None]},
        "list of arrays": {"video": list(frames)},
    }[kind]
    eager, exact = both(tiny("nano"), ask("policy", **changes))

    assert difference(eager, exact) == 0.0


@pytest.mark.parametrize(
    "changes",
    [
        {"num_inference_steps": 1},
        {"num_inference_steps": 7},
        {"use_system_prompt": True, "negative_prompt": "blurred", "guidance_scale": 2.0},
        {"prompt": ["Push the red cube.", "ignored"], "negative_prompt": ["dark"], "guidance_scale": 2.0},
        {"view_point": "wrist_view", "domain_name": "agibotworld"},
        {"domain_name": "pusht", "fps": 10.0},
    ],
    ids=str,
)
def test_whatever_else_is_asked_of_a_policy(changes, tiny, ask, difference):
    eager, exact = both(tiny("nano"), ask("policy", **changes))

    assert difference(eager, exact) == 0.0


def test_short_actions_repeat_their_last_row(tiny, ask, difference):
    eager, exact = both(tiny("nano"), ask("forward_dynamics", raw_actions=torch.randn(3, 10)))

    assert difference(eager, exact) == 0.0


@pytest.mark.parametrize("flow", [True, False])
def test_other_schedules_step_the_same(flow, fresh, ask, difference):
    from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    pipe = fresh(vae="wan22")
    if flow:
        pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    else:
        pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config, solver_order=3)
    eager, exact = both(pipe, ask("policy", num_inference_steps=5))

    assert difference(eager, exact) == 0.0


def test_the_native_flow_schedule_steps_the_same(fresh, ask, difference):
    pipe = fresh(vae="wan22")
    pipe.register_to_config(use_native_flow_schedule=True)
    eager, exact = both(pipe, ask("policy", num_inference_steps=5))

    assert difference(eager, exact) == 0.0


def test_a_lora_is_part_of_the_weights(fresh, ask, difference):
    from peft import LoraConfig

    pipe = fresh(vae="wan22")
    plain, _ = both(pipe, ask("policy", guidance_scale=2.0))
    targets = ["to_k", "to_v", "add_q_proj", "down_proj"]
    pipe.transformer.add_adapter(LoraConfig(r=4, target_modules=targets, init_lora_weights=False), "strands")

    strong, exact_strong = both(pipe, ask("policy", guidance_scale=2.0))
    pipe.transformer.set_adapters(["strands"], weights=[0.5])
    weak, exact_weak = both(pipe, ask("policy", guidance_scale=2.0))
    pipe.transformer.disable_adapters()
    off, exact_off = both(pipe, ask("policy", guidance_scale=2.0))

    assert difference(strong, exact_strong) == difference(weak, exact_weak) == difference(off, exact_off) == 0.0
    assert difference(plain, off) == 0.0
    assert difference(strong, weak) > 0
    assert difference(weak, off) > 0


def test_tiling_of_the_vae_is_kept(fresh, ask, difference):
    pipe = fresh(vae="wan22")
    pipe.vae.enable_tiling(tile_sample_min_height=64, tile_sample_min_width=64)
    pipe.vae.tile_sample_stride_height = pipe.vae.tile_sample_stride_width = 48
    eager, exact = both(pipe, ask("image", height=96, width=128))

    assert difference(eager, exact) == 0.0


@pytest.mark.parametrize("threads", [1, 2])
def test_with_any_number_of_threads(threads, tiny, ask, difference):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        eager, exact = both(tiny("wan21"), ask("policy", num_inference_steps=1))
    finally:
        torch.set_num_threads(before)

    assert difference(eager, exact) == 0.0


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("layout", ["nano", pytest.param("und_norm", marks=pytest.mark.slow)])
def test_bfloat16_on_a_cpu_gives_the_same_bits_too(layout, condition, tiny_bfloat16, ask, difference):
    for guidance in (1.0, 2.0):
        eager, exact = both(tiny_bfloat16(layout), ask(condition, guidance_scale=guidance))
        assert difference(eager, exact) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("chunk_size", [4, 12, 16])
@pytest.mark.parametrize("layout", ["nemotron", "plain_text", "patch_one", "wan21"])
def test_bfloat16_in_every_layout_and_chunk_size_gives_the_same_bits(
    layout, chunk_size, tiny_bfloat16, ask, difference
):
    for condition, guidance in (("policy", 1.0), ("forward_dynamics", 3.0), ("inverse_dynamics", 1.0)):
        arguments = ask(condition, guidance_scale=guidance, chunk_size=chunk_size, num_inference_steps=1)
        eager, exact = both(tiny_bfloat16(layout), arguments)
        assert difference(eager, exact) == 0.0, condition


@pytest.mark.slow
def test_several_chunks_in_bfloat16_give_the_same_bits(tmp_path):
    from strands_diffusers import rollout

    words = ["condition.num_chunks=2", "sampler.num_inference_steps=2", "model.dtype=bfloat16", "model.device=cpu"]
    words += ["visualizer=[]", "tracker=none"]
    eager, exact = (rollout(*words, f"engine={name}", output_dir=tmp_path / name) for name in ("eager", "exact"))
    assert exact.action.shape == (2, 16, 2)
    np.testing.assert_array_equal(exact.action, eager.action)
    np.testing.assert_array_equal(exact.video, eager.video)


def test_what_is_kept_from_earlier_calls_changes_nothing(tiny, ask, difference):
    pipe = tiny("nano")
    forget(pipe)
    engine = get_engine("exact")
    calls = [
        Call(ask("policy", prompt=prompt, guidance_scale=2.0), ALL, (seed,))
        for prompt in ("Lift.", "Push it.")
        for seed in (0, 1)
    ]

    first = [engine.run(pipe, call)[0] for call in calls]
    again = [engine.run(pipe, call)[0] for call in reversed(calls)][::-1]
    eager = [get_engine("eager").run(pipe, call)[0] for call in calls]

    assert [difference(a, b) for a, b in zip(first, eager, strict=True)] == [0.0] * 4
    assert [difference(a, b) for a, b in zip(again, eager, strict=True)] == [0.0] * 4


@pytest.mark.parametrize("changes", [{}, {"guidance_scale": 3.0}, {"num_inference_steps": 1}], ids=str)
def test_actions_whose_video_nobody_wants_are_the_same(tiny, ask, changes):
    """The last step then leaves the video's latents alone, which no action sees any more."""
    pipe, arguments = tiny("nano"), ask("policy", **changes)
    (eager,), (alone,), (beside,) = (
        get_engine(name).run(pipe, Call(arguments, frozenset(wanted)))
        for name, wanted in (("eager", {"video", "action"}), ("exact", {"action"}), ("exact", {"video", "action"}))
    )

    assert alone.video is None
    np.testing.assert_array_equal(alone.action, eager.action)
    np.testing.assert_array_equal(beside.action, eager.action)
    np.testing.assert_array_equal(beside.video, eager.video)
