"""`engine=fp8`: the compiled engine with the generation stream's matrices in 8 bits. Lossy.

The matrices are quantised by torchao in copies of the layers, row by row, and activations as they come; norms, text,
attention and the pipeline itself stay as they are. Costs the memory of the copies beside the weights.
"""

import copy
import importlib.util
import weakref
from collections.abc import Hashable
from typing import Any, ClassVar

from strands_diffusers.pipelines.engine.base import Call
from strands_diffusers.pipelines.engine.compiled import CompiledEngine
from strands_diffusers.pipelines.engine.memory import weights_key

GENERATION = (
    "self_attn.add_q_proj",
    "self_attn.add_k_proj",
    "self_attn.add_v_proj",
    "self_attn.to_add_out",
    "mlp_moe_gen",
)
"""Parts of a layer whose matrices are quantised: those that every step multiplies by."""

CAPABILITY = (8, 9)
"""The first CUDA compute capability that multiplies in 8 bits: Ada and Hopper."""


class Fp8Engine(CompiledEngine):
    """Faster matrices on recent NVIDIA cards, for a small error in every velocity."""

    name: ClassVar[str] = "fp8"

    def refuse(self, pipe: Any, call: Call) -> str | None:
        """Return why this pipeline cannot be quantised here, or None."""
        if type(pipe).__name__ == "Cosmos3OmniPipeline":
            dtype = str(pipe.transformer.dtype).removeprefix("torch.")
            reason = refuse_machine(str(pipe._get_execution_device()), dtype)
            if reason is not None:
                return reason
        return super().refuse(pipe, call)

    def _layers(self, pipe: Any) -> Any:
        return quantised_layers(pipe.transformer)


def refuse_machine(device: str, dtype: str = "auto", offload: str = "none") -> str | None:
    """Return why this machine cannot multiply in 8 bits, or None."""
    if not device.startswith("cuda"):
        return f"8-bit matrices need a CUDA device, and the model computes on {device}."
    if importlib.util.find_spec("torchao") is None:
        return "8-bit matrices need torchao: pip install torchao"
    if dtype not in ("auto", "bfloat16"):
        return f"8-bit matrices need model.dtype=bfloat16, and it is {dtype}."
    if offload != "none":
        return f"copies of offloaded weights (model.offload={offload}) would have to stay on the device."
    import torch

    if torch.cuda.is_available() and torch.cuda.get_device_capability(device) < CAPABILITY:
        name = torch.cuda.get_device_name(device)
        return f"8-bit matrices need compute capability {CAPABILITY[0]}.{CAPABILITY[1]} or newer, and {name} is older."
    return None


_quantised: "weakref.WeakKeyDictionary[Any, tuple[Hashable, list[Any]]]" = weakref.WeakKeyDictionary()


def quantised_layers(transformer: Any) -> list[Any]:
    """Return copies of the layers with 8-bit generation matrices, made anew when the weights have changed."""
    weights = weights_key(transformer)
    kept = _quantised.get(transformer)
    if kept is None or kept[0] != weights:
        kept = (weights, [_quantise(mirror(layer)) for layer in transformer.layers])
        _quantised[transformer] = kept
    return kept[1]


def mirror(module: Any) -> Any:
    """Copy a module tree and share its tensors: replacing one in the copy leaves the original as it is."""
    twin = copy.copy(module)
    for name in ("_parameters", "_buffers"):
        twin.__dict__[name] = dict(vars(module)[name])
    twin.__dict__["_modules"] = {name: child and mirror(child) for name, child in vars(module)["_modules"].items()}
    return twin


def _quantise(layer: Any) -> Any:
    import torch
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_

    def generates(module: Any, name: str) -> bool:
        return isinstance(module, torch.nn.Linear) and name.startswith(GENERATION)

    quantize_(layer, Float8DynamicActivationFloat8WeightConfig(granularity=PerRow()), filter_fn=generates)
    return layer
