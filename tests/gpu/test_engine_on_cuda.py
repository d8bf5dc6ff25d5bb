"""The engines on a CUDA device, with random weights: `pytest -m gpu tests/gpu/test_engine_on_cuda.py`, by hand."""

import time

import numpy as np
import pytest
import torch
from tiny_cosmos3 import TASK, make_tiny_cosmos3
from waiting import forbid_waiting

from strands_diffusers.config.engines import ExactEngineConfig
from strands_diffusers.pipelines.engine import Call, choose, forget, get_engine
from strands_diffusers.pipelines.engine.exact import ExactEngine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

ALL = frozenset({"video", "sound", "action"})
CONDITIONS = ("policy", "forward_dynamics", "inverse_dynamics", "text", "image", "video")


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def pipe(request):
    return make_tiny_cosmos3(vae="wan22", sound=True, hidden=256, layers=4).to("cuda", getattr(torch, request.param))


def arguments(condition, **changes):
    from diffusers import CosmosActionCondition
    from PIL import Image

    rng = np.random.default_rng(0)
    clip = [Image.fromarray(rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)) for _ in range(9)]
    base = {"prompt": TASK, "num_inference_steps": 6, "guidance_scale": 2.0}
    if condition in ("policy", "forward_dynamics", "inverse_dynamics"):
        actions = torch.randn(8, 10) if condition == "forward_dynamics" else None
        action = CosmosActionCondition(
            mode=condition,
            chunk_size=8,
            domain_name="bridge_orig_lerobot",
            resolution_tier=256,
            video=clip,
            raw_actions=actions,
        )
        return {**base, "action": action, "fps": 5.0, "use_system_prompt": False, **changes}
    world = {**base, "num_frames": 9, "height": 160, "width": 240, "fps": 12.0, "enable_sound": True}
    if condition == "image":
        world["image"] = clip[0]
    if condition == "video":
        world["video"] = clip
    return {**world, **changes}


def close(one, other, dtype):
    """The bound on CUDA: the rounding of the dtype, carried through the steps."""
    relative, levels = (1e-4, 1) if dtype == torch.float32 else (2**-5, 8)
    for name in ("action", "sound"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None)
        if a is not None:
            assert np.abs(a - b).max() <= relative * np.abs(b).max()
    if one.video is not None and other.video is not None:
        assert np.abs(one.video.astype(int) - other.video).max() <= levels


@pytest.mark.parametrize("condition", CONDITIONS)
def test_exact_stays_within_the_rounding_of_diffusers(pipe, condition):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    call = Call(arguments(condition), ALL, (3,))
    assert choose("exact", pipe, call)[1] is None
    [eager] = get_engine("eager").run(pipe, call)
    [exact] = get_engine("exact").run(pipe, call)

    close(exact, eager, pipe.transformer.dtype)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_host_never_waits_inside_the_loop(pipe, condition, monkeypatch):
    loops = forbid_waiting(monkeypatch)

    get_engine("exact").run(pipe, Call(arguments(condition), ALL, (0, 1)))

    assert loops == ["error", "default"]


def test_eight_samples_in_one_batch_are_twice_as_fast_each(pipe):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    call = Call(arguments("policy", guidance_scale=1.0, num_inference_steps=20), frozenset({"action"}), tuple(range(8)))
    seconds, samples = {}, {}
    for size in (1, 8):
        engine = ExactEngine(samples_per_batch=size)
        engine.run(pipe, call)
        started = time.perf_counter()
        samples[size] = engine.run(pipe, call)
        seconds[size] = time.perf_counter() - started

    for one, other in zip(samples[8], samples[1], strict=True):
        close(one, other, pipe.transformer.dtype)
    assert seconds[8] <= seconds[1] / 2, seconds


@pytest.mark.parametrize("kind", ["model", "sequential"])
@pytest.mark.parametrize("condition", ["policy", "image"])
def test_offloading_is_kept(kind, condition):
    call = Call(arguments(condition), ALL, (3,))
    plain = make_tiny_cosmos3(vae="wan22", sound=True).to("cuda", torch.bfloat16)
    [expected] = get_engine("exact").run(plain, call)
    pipe = make_tiny_cosmos3(vae="wan22", sound=True).to(torch.bfloat16)
    getattr(pipe, {"model": "enable_model_cpu_offload", "sequential": "enable_sequential_cpu_offload"}[kind])()
    assert choose("exact", pipe, call)[1] is None

    for _ in range(2):
        close(get_engine("exact").run(pipe, call)[0], expected, torch.bfloat16)
        resting = next(pipe.transformer.parameters()).device.type
        assert resting == {"model": "cpu", "sequential": "meta"}[kind]
    close(get_engine("eager").run(pipe, call)[0], expected, torch.bfloat16)


@pytest.mark.filterwarnings("ignore:The following device_map keys do not match")  # one is a parameter
def test_a_device_map_is_kept(tmp_path):
    from diffusers import Cosmos3OmniTransformer

    call = Call(arguments("policy"), ALL, (3,))
    pipe = make_tiny_cosmos3(vae="wan22", layers=4).to(torch.bfloat16)
    pipe.save_pretrained(tmp_path)
    [expected] = get_engine("exact").run(pipe.to("cuda"), call)
    layers = {f"layers.{i}": "cpu" if i % 2 else 0 for i in range(4)}
    names = [name for name, _ in pipe.transformer.named_children() if name != "layers"]
    device_map = {**dict.fromkeys(names, 0), **layers, "action_modality_embed": 0}
    pipe.transformer = Cosmos3OmniTransformer.from_pretrained(
        tmp_path / "transformer", device_map=device_map, dtype=torch.bfloat16
    )

    close(get_engine("exact").run(pipe, call)[0], expected, torch.bfloat16)


def test_group_offloading_is_refused_and_eager_serves():
    pipe = make_tiny_cosmos3(vae="wan22").to(torch.bfloat16)
    pipe.enable_group_offload(
        onload_device=torch.device("cuda"), offload_device=torch.device("cpu"), offload_type="leaf_level"
    )
    call = Call(arguments("policy"), frozenset({"action"}), (3,))
    engine, reason = choose("auto", pipe, call)

    assert engine.name == "eager"
    assert "diffusers hooks are active" in reason
    assert np.isfinite(engine.run(pipe, call)[0].action).all()


def test_conditioning_is_kept_on_the_card_within_its_bound():
    pipe = make_tiny_cosmos3(vae="wan22").to("cuda", torch.bfloat16)
    forget(pipe)
    for prompt in ("Lift.", "Push.", "Pull."):
        get_engine("exact", ExactEngineConfig(cache_mb=1)).run(
            pipe, Call(arguments("policy", prompt=prompt), frozenset({"action"}))
        )

    from strands_diffusers.pipelines.engine.memory import memory_of

    assert 0 < memory_of(pipe, 1024**2).bytes <= 1024**2
