"""A call is watched step by step, whatever pipeline it is, and one that is ended leaves nothing behind."""

import threading
from functools import partial

import numpy as np
import pytest
import tiny_pipelines
from tiny_cosmos3 import TASK, build_tiny_cosmos3, make_tiny_cosmos3

from strands_diffusers.config.compose import compose
from strands_diffusers.config.models import ModelConfig
from strands_diffusers.errors import StrandsDiffusersError
from strands_diffusers.observations import resolve
from strands_diffusers.pipelines import generate, loader
from strands_diffusers.pipelines.engine import Call, get_engine
from strands_diffusers.pipelines.engine.exact import ExactEngine
from strands_diffusers.pipelines.request import make_request
from strands_diffusers.pipelines.steps import watched


class StopError(Exception):
    """Raised by whoever watches."""


def stop_at(last, seen):
    def report(done, total):
        seen.append((done, total))
        if done == last:
            raise StopError

    return report


def make(name):
    """A small pipeline, and the arguments of a call of three steps."""
    import torch

    if name == "DDPMPipeline":  # its loop goes through the bar instead of updating it
        from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

        unet = UNet2DModel(8, block_out_channels=(8, 8), norm_num_groups=2, down_block_types=("DownBlock2D",) * 2,
                           up_block_types=("UpBlock2D",) * 2, add_attention=False)  # fmt: skip
        pipe, arguments = DDPMPipeline(unet, DDPMScheduler()), {"output_type": "np"}
    else:
        pipe, arguments = tiny_pipelines.BUILDERS[name](), {"output_type": "np", **tiny_pipelines.CALLS[name]}
    arguments["num_inference_steps"] = 3
    return pipe, lambda: {**arguments, "generator": torch.Generator().manual_seed(0)}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("WanPipeline", marks=pytest.mark.slow),
        "StableDiffusionPipeline",
        "StableAudioPipeline",
        "DDPMPipeline",
    ],
)
def test_every_step_of_any_pipeline_is_reported_and_any_can_be_the_last(name: str) -> None:
    pipe, arguments = make(name)
    expected = pipe(**arguments())[0]
    attributes, seen = set(vars(pipe)), []

    with watched(pipe, lambda done, total: seen.append((done, total))):
        pipe(**arguments())
    assert seen == [(1, 3), (2, 3), (3, 3)]

    seen.clear()
    with pytest.raises(StopError), watched(pipe, stop_at(2, seen)):
        pipe(**arguments())
    assert seen == [(1, 3), (2, 3)]
    assert set(vars(pipe)) == attributes
    np.testing.assert_array_equal(np.asarray(pipe(**arguments())[0]), np.asarray(expected))


def test_the_blocks_of_a_modular_pipeline_report_too_and_draw_no_bar(tmp_path, capfd) -> None:
    build_tiny_cosmos3(tmp_path)
    config = ModelConfig("custom", str(tmp_path), pipeline="Cosmos3OmniModularPipeline", device="cpu")
    pipe = loader.load(config)[0].pipe
    arguments = {"prompt": "a", "num_frames": 5, "height": 32, "width": 32, "num_inference_steps": 3}
    seen: list = []

    with pytest.raises(StopError), watched(pipe, stop_at(2, seen)):
        pipe(**arguments)
    assert seen == [(1, 3), (2, 3)]
    capfd.readouterr()
    with watched(pipe, lambda done, total: seen.append((done, total))):
        pipe(**arguments)
    assert seen[2:] == [(1, 3), (2, 3), (3, 3)]
    assert "it/s" not in capfd.readouterr().err


def test_weights_that_were_moved_to_the_device_go_back_after_an_error() -> None:
    pipe, freed = make_tiny_cosmos3(), []
    pipe._all_hooks, pipe.enable_model_cpu_offload = [object()], lambda device: freed.append(device)

    with pytest.raises(StopError), watched(pipe, None):
        raise StopError

    assert len(freed) == 1


@pytest.mark.parametrize("engine", ["exact", "eager"])
def test_every_engine_ends_within_a_step_and_serves_the_next_call_as_ever(engine: str) -> None:
    from diffusers import CosmosActionCondition

    pipe, frame = make_tiny_cosmos3(vae="wan22"), np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    action = CosmosActionCondition(
        mode="policy", chunk_size=4, domain_name="bridge_orig_lerobot", resolution_tier=256,
        image=generate.canvases.to_pil(frame[None])[0],
    )  # fmt: skip
    arguments = {"prompt": TASK, "action": action, "fps": 5.0, "num_inference_steps": 4, "guidance_scale": 2.0}
    call, seen = Call(arguments, frozenset({"video", "action"}), (0, 1)), []
    made = partial(ExactEngine, samples_per_batch=1) if engine == "exact" else partial(get_engine, engine)
    expected = made().run(pipe, call)
    attributes = {module: set(vars(module)) for module in pipe.transformer.modules()}, set(vars(pipe))

    with pytest.raises(StopError):
        made().run(pipe, call, stop_at(6, seen))

    assert seen == [(step, 8) for step in range(1, 7)]
    assert ({module: set(vars(module)) for module in pipe.transformer.modules()}, set(vars(pipe))) == attributes
    assert not pipe.transformer.is_cache_enabled
    for one, other in zip(made().run(pipe, call), expected, strict=True):
        np.testing.assert_array_equal(one.video, other.video)
        np.testing.assert_array_equal(one.action, other.action)


@pytest.fixture(scope="module")
def job():
    """The embedded model, warm, and a request of two chunks."""
    words = ["condition.num_chunks=2", "sampler.num_inference_steps=3", "observation=sample:push_left"]
    config = compose(words)
    observation = resolve.read_observation(
        str(config.observation), resolve.observation_request(config), generate_index().sources(config.source)
    )
    return loader.load(config.model)[0], config, make_request(config, observation)


def generate_index():
    from strands_diffusers.plugin.manager import plugins

    return plugins()


def test_the_steps_of_all_chunks_are_counted_together(job) -> None:
    seen: list = []
    generate.generate(*job, frozenset({"action"}), lambda *step: seen.append(step))
    assert seen == [("denoise", step, 6) for step in range(1, 7)]


@pytest.mark.parametrize("error", [KeyError("mine"), StrandsDiffusersError("ours")])
def test_what_the_watcher_raises_is_not_taken_for_a_fault_of_the_pipeline(job, error: Exception) -> None:
    def watch(what: str, done: int, total: int) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        generate.generate(*job, frozenset({"action"}), watch)
    assert caught.value is error


def test_a_call_that_waits_is_served_as_soon_as_the_one_before_is_ended(job) -> None:
    inside, stop, ended, waited = threading.Event(), threading.Event(), [], []

    def first(what: str, done: int, total: int) -> None:
        inside.set()
        assert stop.wait(30)
        raise StopError

    def run() -> None:
        try:
            generate.generate(*job, frozenset({"action"}), first)
        except StopError:
            ended.append(True)

    one = threading.Thread(target=run)
    one.start()
    assert inside.wait(30)
    two = threading.Thread(target=lambda: waited.extend(generate.generate(*job, frozenset({"action"}))))
    two.start()
    stop.set()
    one.join(30)
    two.join(30)
    assert ended
    assert waited[0].action.shape == (2, 16, 2)


def test_a_call_that_waits_can_be_ended_while_the_one_before_still_runs(job) -> None:
    inside, go_on, seen = threading.Event(), threading.Event(), []

    def first(what: str, done: int, total: int) -> None:
        inside.set()
        assert go_on.wait(30)

    one = threading.Thread(target=lambda: seen.extend(generate.generate(*job, frozenset({"action"}), first)))
    one.start()
    assert inside.wait(30)

    def second(what: str, done: int, total: int) -> None:
        assert what == "wait"
        raise StopError

    with pytest.raises(StopError):
        generate.generate(*job, frozenset({"action"}), second)
    assert seen == []  # the first is still running
    go_on.set()
    one.join(30)
    assert seen[0].action.shape == (2, 16, 2)
