"""Inside the loop the host never waits for the device: run on the meta device, which has no values to give."""

import pytest
import torch

from strands_diffusers.memory import Memory
from strands_diffusers.pipelines.engine import Call
from strands_diffusers.pipelines.engine.conditioning import draw_latents, make_conditioning, read_arguments
from strands_diffusers.pipelines.engine.eager import generator
from strands_diffusers.pipelines.engine.exact import ExactEngine
from strands_diffusers.pipelines.engine.loop import Loop
from strands_diffusers.pipelines.engine.text import Text

pytestmark = pytest.mark.contract


def to_meta(value):
    if isinstance(value, torch.Tensor):
        return value.to("meta") if value.dim() else value  # scalars stay on the host, where the schedule has them
    if isinstance(value, tuple):
        parts = [to_meta(item) for item in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return [to_meta(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("condition", "changes"),
    [
        ("policy", {}),
        ("forward_dynamics", {"guidance_scale": 3.0}),
        ("inverse_dynamics", {}),
        ("image", {"enable_sound": True, "guidance_scale": 3.0}),
        ("text", {}),
        ("video", {"condition_frame_indexes_vision": (0, 2)}),
    ],
)
def test_no_step_asks_for_a_value(condition, changes, fresh, ask):
    pipe = fresh(vae="wan22", sound=True)
    arguments = read_arguments(pipe, Call(ask(condition, **changes), frozenset()))
    device, memory, engine = torch.device("cpu"), Memory(0), ExactEngine()
    with torch.no_grad():
        conditioning = make_conditioning(pipe, arguments, device, memory)
        texts = engine._texts(pipe, arguments, conditioning, memory)
        loop = Loop(pipe, arguments, conditioning, texts, memory, engine.denoiser(pipe, conditioning))
        state = draw_latents(pipe, conditioning, [generator(0), generator(1)])

        pipe.transformer.to("meta")
        loop.texts = [Text(text.length, [to_meta(pair) for pair in text.layers]) for text in loop.texts]
        loop.embeds, loop.rotaries = to_meta(loop.embeds), to_meta(loop.rotaries)
        for name in ("noisy_frames", "noisy_tokens", "read", "read_at_end"):
            setattr(loop.denoiser, name, to_meta(getattr(loop.denoiser, name)))
        for linear in (loop.denoiser.action_in, loop.denoiser.action_out):
            if linear is not None:
                linear.weight, linear.bias = to_meta(linear.weight), to_meta(linear.bias)
        last = loop.run(to_meta(state))
        loop.run(to_meta(state), needs_video=False)

    assert [None if x is None else x.shape for x in last] == [None if x is None else x.shape for x in state]
    assert last.vision.is_meta


def test_the_meta_device_does_notice():
    with pytest.raises(RuntimeError, match="meta"):
        torch.ones(3, device="meta").sum().item()
