"""Real diffusers classes at tiny size: pipelines by layout, calls by condition, and what two samples differ by."""

import functools

import numpy as np
import pytest
from tiny_cosmos3 import TASK, make_tiny_cosmos3

LAYOUTS = {
    "nano": {"vae": "wan22", "sound": True},  # 16x VAE, patch 2, silu, query and key norms: as Cosmos3-Nano
    "nemotron": {"vae": "wan22", "hidden_act": "relu2"},
    "plain_text": {"vae": "wan22", "qk_norm_for_text": False, "hidden": 128},
    "und_norm": {"vae": "wan22", "qk_norm_for_text": False, "use_und_k_norm_for_gen": True, "hidden_act": "relu2"},
    "patch_one": {"vae": "wan22", "latent_patch_size": 1},
    "wan21": {"vae": "wan21"},
}


@functools.cache
def pipeline(layout):
    return make_tiny_cosmos3(**LAYOUTS[layout])


@pytest.fixture
def tiny():
    """A pipeline by layout, shared by all tests: no test may leave anything on it."""
    return pipeline


@functools.cache
def pipeline_in_bfloat16(layout):
    import torch

    pipe = make_tiny_cosmos3(**LAYOUTS[layout]).to(torch.bfloat16)
    pipe.transformer.time_embedder.float()
    return pipe


@pytest.fixture
def tiny_bfloat16():
    """The same as checkpoints are loaded on a card: bfloat16, the time embedder in float32."""
    return pipeline_in_bfloat16


@pytest.fixture
def fresh():
    """A pipeline of one's own."""
    return make_tiny_cosmos3


@pytest.fixture
def clip():
    return make_clip


@functools.cache
def make_clip(frames=9, height=56, width=72, seed=0):
    from PIL import Image

    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)) for _ in range(frames)]


@pytest.fixture
def ask():
    return make_arguments


def make_arguments(condition, **changes):
    """Keyword arguments of diffusers' own call for one of the six conditions; `changes` replace some of them."""
    import torch
    from diffusers import CosmosActionCondition

    base = {"prompt": TASK, "num_inference_steps": 3, "guidance_scale": 1.0}
    if condition in ("policy", "forward_dynamics", "inverse_dynamics"):
        settings = {
            "mode": condition,
            "chunk_size": 8,
            "domain_name": "bridge_orig_lerobot",
            "resolution_tier": 256,
            "video": make_clip(),
            "raw_actions": None,
        }
        if condition == "forward_dynamics":
            settings["raw_actions"] = torch.randn(8, 10, generator=torch.Generator().manual_seed(1))
        settings.update(
            {name: changes.pop(name) for name in list(changes) if name in (*settings, "image", "view_point")}
        )
        return {**base, "action": CosmosActionCondition(**settings), "fps": 5.0, "use_system_prompt": False, **changes}
    world = {**base, "num_frames": 9, "height": 48, "width": 80, "fps": 12.0}
    if condition == "image":
        world["image"] = make_clip()[0]
    if condition == "video":
        world.update(video=make_clip(), num_frames=17)
    return {**world, **changes}


@pytest.fixture
def difference():
    return largest_difference


def largest_difference(one, other):
    """The largest difference of video, sound and action; both must have the same outputs, of the same shapes."""
    largest = 0.0
    for name in ("video", "sound", "action"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None), name
        if a is not None:
            assert a.shape == b.shape
            assert a.dtype == b.dtype
            largest = max(largest, float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max()))
    return largest


@pytest.fixture
def state_of():
    return read_state


def read_state(pipe):
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
