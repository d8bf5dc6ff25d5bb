"""The engines on a CUDA device, with random weights: `pytest -m gpu plugins/engines/tests`, by hand."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_cosmos3 import make_tiny_cosmos3

from strands_diffusers.pipelines.engine import Call, get_engine

TESTS = Path(__file__).resolve().parents[3] / "tests"
_spec = importlib.util.spec_from_file_location("engine_on_cuda", TESTS / "gpu" / "test_engine_on_cuda.py")
core = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(core)
pytestmark = core.pytestmark
ALL, arguments, close = core.ALL, core.arguments, core.close


@pytest.mark.parametrize("condition", ["policy", "inverse_dynamics", "image"])
@pytest.mark.parametrize("seeds", [(3,), (3, 4, 5)])
def test_compiled_with_a_graph_stays_close(condition, seeds):
    pipe = make_tiny_cosmos3(vae="wan22", sound=True, hidden=256, layers=4).to("cuda", torch.bfloat16)
    call = Call(arguments(condition), ALL, seeds)
    expected = get_engine("exact").run(pipe, call)

    for _ in range(2):
        found = get_engine("compiled").run(pipe, call)
        for one, other in zip(found, expected, strict=True):
            close(one, other, torch.bfloat16)


def test_fp8_is_close_and_leaves_the_weights():
    pytest.importorskip("torchao")
    if torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("this card does not multiply in 8 bits")
    pipe = make_tiny_cosmos3(vae="wan22", hidden=256, layers=4).to("cuda", torch.bfloat16)
    call = Call(arguments("policy", guidance_scale=1.0), ALL, (3,))
    [expected] = get_engine("exact").run(pipe, call)
    before = [(id(p), p._version, p.dtype) for p in pipe.transformer.parameters()]

    [found] = get_engine("fp8").run(pipe, call)

    assert [(id(p), p._version, p.dtype) for p in pipe.transformer.parameters()] == before
    assert np.abs(found.action - expected.action).mean() <= 0.1 * np.abs(expected.action).mean()
    close(get_engine("exact").run(pipe, call)[0], expected, torch.bfloat16)


def test_cached_is_close_and_gone_after():
    pipe = make_tiny_cosmos3(vae="wan22", hidden=256, layers=4).to("cuda", torch.bfloat16)
    call = Call(arguments("policy", num_inference_steps=20), ALL, (3,))
    [expected] = get_engine("exact").run(pipe, call)
    [found] = get_engine("cached").run(pipe, call)

    assert not pipe.transformer.is_cache_enabled
    assert np.abs(found.action - expected.action).mean() <= 0.2 * np.abs(expected.action).mean()
