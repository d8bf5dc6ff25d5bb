"""Whatever the engine makes is made on the device that it is given: tried on the meta device, which no CPU tensor may meet."""

import dataclasses

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from strands_diffusers.pipelines.engine import Call, loop, wan
from strands_diffusers.pipelines.engine.conditioning import draw_latents, make_conditioning, read_arguments
from strands_diffusers.pipelines.engine.eager import generator
from strands_diffusers.pipelines.engine.exact import ExactEngine
from strands_diffusers.pipelines.engine.loop import Loop
from strands_diffusers.pipelines.engine.memory import Memory
from strands_diffusers.pipelines.engine.solver import Schedule

pytestmark = pytest.mark.contract
META = torch.device("meta")


class Rotary(torch.nn.Module):
    """diffusers' rotary embedding, on the CPU: it asks for autocast, which the meta device does not know."""

    def __init__(self, own):
        super().__init__()
        self.own = [own]  # in a list: not moved with the others

    def forward(self, position_ids, device, dtype):
        assert position_ids.device == device == META
        cos, sin = self.own[0](torch.zeros(position_ids.shape), torch.device("cpu"), dtype)
        return cos.to(device), sin.to(device)


class OneDevice(TorchDispatchMode):
    """Refuse an operation on tensors of two devices, as CUDA does; scalars, and copies from one to the other, are none."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor) and x.dim()]
        devices = {x.device.type for x in tensors}
        assert len(devices) < 2 or func in COPIES, f"{func} on {devices}"
        return func(*args, **(kwargs or {}))


COPIES = (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default)


def test_a_tensor_left_on_the_cpu_is_noticed():
    with OneDevice(), pytest.raises(AssertionError, match="index_select"):
        torch.ones(3, device=META).index_select(0, torch.zeros(1, dtype=torch.long))
    with OneDevice():
        torch.ones(3, device=META).mul(torch.tensor(2.0)).copy_(torch.ones(3))


@pytest.mark.parametrize(
    ("condition", "changes"),
    [
        ("policy", {"guidance_scale": 3.0}),
        pytest.param("forward_dynamics", {}, marks=pytest.mark.slow),
        ("inverse_dynamics", {}),
        pytest.param("text", {"enable_sound": True}, marks=pytest.mark.slow),
        ("image", {"enable_sound": True, "guidance_scale": 3.0}),
        pytest.param("video", {"condition_frame_indexes_vision": (0, 2)}, marks=pytest.mark.slow),
    ],
)
def test_all_that_a_call_makes_lies_on_its_device(condition, changes, fresh, ask, monkeypatch):
    monkeypatch.setattr(
        loop, "Schedule", lambda pipe, steps, device: Schedule(pipe, steps, "cpu")
    )  # scalars of the host
    pipe = fresh(vae="wan22", sound=True).to(torch.bfloat16)
    pipe.transformer.time_embedder.float()  # as a checkpoint is loaded
    arguments = read_arguments(pipe, Call(ask(condition, **changes), frozenset()))
    memory, engine = Memory(0), ExactEngine()
    with torch.no_grad():
        on_cpu = make_conditioning(pipe, arguments, torch.device("cpu"), memory)  # reads the size of the content
        pipe.transformer.rotary_emb = Rotary(pipe.transformer.rotary_emb)
        for part in (pipe.transformer, pipe.vae, pipe.sound_tokenizer):
            part.to(META)
        frames = on_cpu.frames._replace(
            latents=on_cpu.frames.latents if on_cpu.frames.latents is None else on_cpu.frames.latents.to(META)
        )
        actions = None if on_cpu.actions is None else on_cpu.actions.to(META)
        conditioning = dataclasses.replace(on_cpu, device=META, frames=frames, actions=actions)

    with torch.no_grad(), OneDevice():
        texts = engine._texts(pipe, arguments, conditioning, memory)
        denoising = Loop(pipe, arguments, conditioning, texts, memory, engine.denoiser(pipe, conditioning))
        state = denoising.run(draw_latents(pipe, conditioning, [generator(0), generator(1)]))
        denoising.run(draw_latents(pipe, conditioning, [generator(0)]), needs_video=False)
        made = [*state, *(pair[0] for text in texts for pair in text.layers)]
        made += list(wan.decode(pipe, state.vision[:1]))
        made.append(wan.encode(pipe, torch.zeros(1, 3, 5, 64, 80, device=META), wan.latent_frames(9)))
        if state.sound is not None:
            made.append(pipe.decode_sound(state.sound[0]))

    assert {part.device for part in made if part is not None} == {META}
    assert {part.dtype for part in state if part is not None} == {torch.float32}
