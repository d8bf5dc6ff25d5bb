"""From a request to rollouts: the calls that are made, what is handed from chunk to chunk, what is kept and given back."""

import dataclasses

import numpy as np
import pytest
from tiny_cosmos3 import make_tiny_cosmos3

from strands_diffusers import Observation
from strands_diffusers.config.compose import compose
from strands_diffusers.errors import ModelError, ObservationError, RolloutError
from strands_diffusers.pipelines import arguments, canvas, generate, loader
from strands_diffusers.pipelines.engine import exact
from strands_diffusers.pipelines.request import make_request

SEEN = Observation(
    frames=np.random.default_rng(0).integers(0, 256, (33, 64, 80, 3), np.uint8), fps=5.0, task="Lift.", source="a.mp4"
)
FAST = ("model=custom", "model.repo=a/b", "model.device=cpu", "domain=bridge", "observation=a.mp4")
STEPS = ("sampler.num_inference_steps=1", "sampler.guidance_scale=1", "condition.chunk_size=8")
FACTOR = 16
BOTH = frozenset({"video", "action"})


@pytest.fixture(scope="module")
def model():
    pipe = make_tiny_cosmos3(vae="wan22")
    return loader.WorldModel(pipe, type(pipe).__name__, "cpu", "float32", "tiny", {}, 0.0)


def asked(*words: str, observation: Observation = SEEN):
    given = {word.partition("=")[0] for word in words}
    config = compose([*(word for word in (*FAST, *STEPS) if word.partition("=")[0] not in given), *words])
    return config, make_request(config, observation)


def test_the_call_of_a_chunk_is_the_pipelines_own(model) -> None:
    config, request = asked("seed=7", "sampler.guidance_scale=3")
    place = canvas.canvas_of(config, request.frames_FHWC, FACTOR)
    call = arguments.chunk_call(config, request, place, 0, None, BOTH, (7,))

    assert {**call.arguments, "action": None} == {
        "prompt": "Lift.", "action": None, "fps": 5.0, "use_system_prompt": False, "num_inference_steps": 1, "guidance_scale": 3.0,
    }  # fmt: skip
    action = call.arguments["action"]
    assert (action.mode, action.chunk_size, action.domain_name) == ("policy", 8, "bridge_orig_lerobot")
    np.testing.assert_array_equal(np.asarray(action.image), SEEN.frames[0])
    assert (call.wanted, call.seeds) == (BOTH, (7,))
    assert place.facts == {"resolution_tier": 256, "height": 64, "width": 80}


def test_a_chunk_starts_from_the_frame_that_is_handed_over_and_reads_its_own_actions(model) -> None:
    actions = np.random.default_rng(1).uniform(-1, 1, (16, 10)).astype(np.float32)
    config, request = asked(
        "condition=forward_dynamics", "condition.num_chunks=2", observation=dataclasses.replace(SEEN, actions=actions)
    )
    place = canvas.canvas_of(config, request.frames_FHWC, FACTOR)
    action = arguments.chunk_call(config, request, place, 1, SEEN.frames[5], BOTH, (0,)).arguments["action"]
    np.testing.assert_array_equal(np.asarray(action.image), SEEN.frames[5])
    np.testing.assert_array_equal(action.raw_actions.numpy(), actions[8:])


def test_inverse_dynamics_reads_each_chunk_from_its_own_frames(model) -> None:
    config, request = asked("condition=inverse_dynamics", "condition.num_chunks=2")
    place = canvas.canvas_of(config, request.frames_FHWC, FACTOR)
    action = arguments.chunk_call(config, request, place, 1, None, BOTH, (0,)).arguments["action"]
    np.testing.assert_array_equal([np.asarray(frame) for frame in action.video], SEEN.frames[8:17])


def test_frames_smaller_than_a_cell_are_refused(model) -> None:
    small = dataclasses.replace(SEEN, frames=SEEN.frames[:, :8])
    with pytest.raises(ObservationError, match=r"80x8 are smaller than one latent cell \(16x16\)"):
        canvas.canvas_of(asked(observation=small)[0], small.frames, FACTOR)


def test_the_canvas_is_the_one_that_the_pipeline_conditions_on(model) -> None:
    for height, width, tier in ((64, 80, 256), (480, 640, 256), (300, 170, 480)):
        place = canvas.canvas_for(height, width, tier, 16)
        frames = canvas.to_pil(np.zeros((1, height, width, 3), np.uint8))
        _, size, high, wide = model.pipe._prepare_action_video_conditioning(frames, tier, 1, device="cpu", dtype=None)
        assert (high, wide) == place.canvas
        assert tuple(int(value) for value in size.tolist()[2:]) == place.content


class Kept:
    """Chunks in memory, as the runner keeps them on disk."""

    def __init__(self) -> None:
        self.chunks: dict = {}

    def read(self, chunk, wanted):
        return self.chunks.get(chunk)

    def write(self, chunk, wanted, samples, engine):
        self.chunks[chunk] = (samples, engine)


def test_a_rollout_that_was_cut_off_goes_on_with_the_same_numbers(model, monkeypatch) -> None:
    monkeypatch.setattr(exact, "batch_size", lambda conditioning: 1)  # so that every machine takes the same steps
    request = asked("condition.num_chunks=3", "sampler.num_samples=2")
    whole = generate.generate(model, *request, BOTH)
    kept, steps = Kept(), []

    def cut(what: str, done: int, total: int) -> None:
        steps.append((done, total))
        if done == 4:
            raise KeyError("cut")

    with pytest.raises(KeyError, match="cut"):
        generate.generate(model, *request, BOTH, cut, kept)
    assert steps[-2:] == [(3, 6), (4, 6)]
    assert steps[:-2] in (
        [(1, 6), (2, 6)],
        [(1, 3)],
    )  # both samples of chunk 0 in a batch, where the machine's bits allow it
    assert list(kept.chunks) == [0]  # the second sample of chunk 1 was never made
    steps.clear()
    again = generate.generate(model, *request, BOTH, lambda what, *at: steps.append(at), kept)
    assert steps == [(3, 6), (4, 6), (5, 6), (6, 6)]
    for one, other in zip(again, whole, strict=True):
        np.testing.assert_array_equal(one.video, other.video)
        np.testing.assert_array_equal(one.action, other.action)
        assert (one.seed, one.sample, one.video.shape[0], one.action.shape) == (
            other.seed,
            other.sample,
            25,
            (3, 8, 10),
        )
    assert again[0].details["chunks_kept"] == 1
    assert not np.array_equal(whole[0].action, whole[1].action)


def test_a_flow_shift_is_for_one_rollout_only(model) -> None:
    scheduler = model.pipe.scheduler
    shifted = generate.generate(model, *asked("sampler.flow_shift=3", "sampler.num_inference_steps=4"), BOTH)[0]
    plain = generate.generate(model, *asked("sampler.num_inference_steps=4"), BOTH)[0]
    assert model.pipe.scheduler is scheduler
    assert not np.array_equal(shifted.action, plain.action)
    model.pipe.scheduler = type("Fixed", (), {"config": {}})()
    try:
        with pytest.raises(ModelError, match=r"Fixed has no such setting\. Use sampler\.flow_shift=null"):
            generate.generate(model, *asked("sampler.flow_shift=3"), BOTH)
    finally:
        model.pipe.scheduler = scheduler


def test_what_the_pipeline_raises_is_one_line_and_memory_gets_its_own(model, monkeypatch) -> None:
    class OutOfMemoryError(RuntimeError):
        pass

    for error, line in (
        (OutOfMemoryError("tried to allocate\n2 GiB"), r"out of memory on cpu: .*Use model\.offload=model"),
        (ValueError("bad\nvalue"), r"Cosmos3OmniPipeline failed: ValueError: bad"),
    ):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(model.pipe, "tokenize_prompt", fail, raising=False)
        with pytest.raises(RolloutError, match=line) as caught:
            generate.generate(model, *asked("engine=exact"), BOTH)
        assert "\n" not in str(caught.value)
        monkeypatch.undo()


def test_one_frame_of_text_is_an_image_and_what_is_not_made_is_named(model) -> None:
    words = ("condition=text", "prompt=a", "condition.height=32", "condition.width=48", "condition.num_frames=1")
    config = compose([*FAST[:3], *STEPS[:2], *words, "output=[image]"])
    request = make_request(config, Observation())
    [made] = generate.generate(model, config, request, frozenset({"image"}))
    assert (made.image.shape, made.video) == ((1, 32, 48, 3), None)
    with pytest.raises(RolloutError, match=r"made none of the outputs that were asked for \(sound\)\.$"):
        generate.generate(model, config, request, frozenset({"sound"}))
