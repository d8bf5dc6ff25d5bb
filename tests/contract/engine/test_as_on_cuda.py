"""What only a CUDA device reaches, as far as a CPU goes: the few calls to `torch.cuda` are stood in for and watched."""

import contextlib
import types

import numpy as np
import pytest
import torch
from waiting import forbid_waiting

from strands_diffusers.memory import Memory
from strands_diffusers.pipelines import devices
from strands_diffusers.pipelines.engine import Call, exact, get_engine
from strands_diffusers.pipelines.engine.denoiser import State
from strands_diffusers.pipelines.engine.timesteps import timestep_embeddings

pytestmark = pytest.mark.contract
ALL = frozenset({"video", "sound", "action"})


def test_the_check_that_the_loop_never_waits_covers_every_way_it_is_run(tiny, ask, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", calls.append)
    modes = forbid_waiting(monkeypatch)
    get_engine("exact").run(tiny("nano"), Call(ask("policy"), ALL))
    get_engine("exact").run(tiny("nano"), Call(ask("policy"), frozenset({"action"})), lambda done, total: None)
    assert modes == calls == ["error", "default"] * 2


def test_each_stage_waits_for_its_device_once_at_its_end(monkeypatch) -> None:
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    device = types.SimpleNamespace(type="cuda")
    clock = exact.Clock(device)
    with clock("denoise"):
        assert waited == []
    assert waited == [device]
    assert clock.seconds["denoise"] >= 0


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_the_host_waits_at_the_end_of_each_stage_and_nowhere_between(seeds, tiny, ask, monkeypatch) -> None:
    """The order of all that a call does, where the device of its clock is said to be a card."""
    events = []

    class OnCuda(exact.Clock):
        def __init__(self, device) -> None:
            super().__init__(types.SimpleNamespace(type="cuda"))

        @contextlib.contextmanager
        def __call__(self, stage):
            events.append(stage)
            with super().__call__(stage):
                yield

    monkeypatch.setattr(exact, "Clock", OnCuda)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: events.append("wait"))
    engine = exact.ExactEngine(samples_per_batch=2)
    call = Call(ask("policy", num_inference_steps=3, guidance_scale=2.0), ALL, seeds)
    engine.run(tiny("nano"), call, lambda done, total: events.append("step"))

    steps = 3 * -(-len(seeds) // 2)
    assert events == ["encode", "wait", "text", "wait", "denoise", *["step"] * steps, "wait", "decode", "wait"]


def test_on_an_accelerator_one_row_of_timesteps_serves_all_tokens(fresh) -> None:
    transformer = fresh(vae="wan22").transformer.to("meta")
    embeds = timestep_embeddings(transformer, [9, 5, 1], (40, 0, 8), "meta", torch.float32, Memory(0))
    assert [[None if x is None else x.shape[0] for x in step] for step in embeds] == [[1, None, 1]] * 3


def test_samples_share_a_batch_up_to_the_bound_on_tokens() -> None:
    def of(device: str, tokens: int) -> int:
        return exact.batch_size(
            types.SimpleNamespace(device=torch.device(device), layout=types.SimpleNamespace(tokens=tokens))
        )

    assert [of("cuda", 1024), of("cuda", 20_000), of("cpu", 8)] == [16, 1, 256]


@pytest.fixture
def card(monkeypatch):
    """A machine with one card of 24 GB, or as many as it is given."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "NVIDIA Card")

    def hold(gb: int) -> None:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (gb * 10**9, gb * 10**9))

    hold(24)
    return hold


def test_weights_that_a_card_does_not_hold_are_refused_with_the_offloading_that_helps(card, monkeypatch) -> None:
    from strands_diffusers.config.compose import compose
    from strands_diffusers.errors import ConfigError
    from strands_diffusers.pipelines import estimate
    from strands_diffusers.pipelines.request import make_request
    from strands_diffusers.results import Observation

    assert devices.resolve_device("auto") == "cuda:0"
    monkeypatch.setattr(estimate, "_host_gb", lambda: 64.0)
    words = ["model=cosmos3_nano", "domain=bridge", "prompt=a", "observation=a.png"]
    seen = Observation(frames=np.zeros((1, 480, 640, 3), np.uint8), source="a.png")

    def fits(*more: str) -> None:
        config = compose([*words, *more])
        estimate.check_fits(config, make_request(config, seen))

    for more in ((), ("model.offload=model",)):  # which moves the transformer as a whole, 31.6 GB of the 33
        with pytest.raises(ConfigError, match=r"NVIDIA Card has 24 GB\. Use model\.offload=sequential\."):
            fits(*more)
    fits("model.offload=sequential")
    fits("model.revision=fp8")
    card(34)
    with pytest.raises(ConfigError, match=r"NVIDIA Card has 34 GB\. Use model\.offload=model\."):
        fits()


def test_a_state_of_streams_keeps_its_order() -> None:
    assert State._fields == ("vision", "sound", "action")  # a graph's inputs are kept in this order
