"""The generation stream's matrices in 8 bits.

The matrices are quantised by torchao in copies of the layers, row by row, and activations as they come; norms, text,
attention and the pipeline itself stay as they are. Costs the memory of the copies beside the weights.
"""

import copy
import weakref
from collections.abc import Hashable
from typing import Any

from strands_diffusers.pipelines.engine.memory import weights_key

GENERATION = (
    "self_attn.add_q_proj",
    "self_attn.add_k_proj",
    "self_attn.add_v_proj",
    "self_attn.to_add_out",
    "mlp_moe_gen",
)
"""Parts of a layer whose matrices are quantised: those that every step multiplies by."""

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

    # By default torchao changes settings of the whole process: the compiler's, and before 0.18 the precision of float32.
    config = Float8DynamicActivationFloat8WeightConfig(granularity=PerRow(), set_inductor_config=False)
    quantize_(layer, config, filter_fn=generates)
    return layer
