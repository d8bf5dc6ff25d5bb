"""Which numbers of a Cosmos 3 transformer are trained: a LoRA and a domain's action projections, or all that is used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from strands_diffusers.pipelines.checkpoint import HEADS

TARGETS = r".*layers\.\d+\.(self_attn\.(add_q_proj|add_k_proj|add_v_proj|to_add_out)|mlp_moe_gen\.(gate_proj|up_proj|down_proj))"
"""The matrices of the generation stream."""

ADAPTER = "adapt"
"""Name of the adapter while it is trained."""

TABLES = ("action_proj_in.fc", "action_proj_in.bias", "action_proj_out.fc", "action_proj_out.bias")
"""Tables with a row for each domain."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without diffusers' warning that a conversion may touch what it keeps in float32: here none does."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def everything(model: Any) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """The matrices inside the layers (for Muon), and the rest that the forward pass uses; what it does not use is frozen."""
    last = f"layers.{len(model.layers) - 1}."
    # The text half of the last layer's output, sound and the language head feed nothing that is generated here.
    idle = (
        "lm_head",
        "norm.weight",
        "audio_",
        *(
            last + part
            for part in ("self_attn.to_q", "self_attn.norm_q", "self_attn.to_out", "mlp.", "post_attention_layernorm.")
        ),
    )
    matrices, others = [], []
    for name, p in model.named_parameters():
        if name.startswith(idle):
            p.requires_grad_(False)
        elif name.startswith("layers.") and p.ndim == 2:
            matrices.append(p)
        else:
            others.append(p)
    return matrices, others


def add_lora(model: Any, rank: int, alpha: float, seed: int) -> list[torch.nn.Parameter]:
    """Freeze the model, add a LoRA to its generation stream and free the action projections; -> what is trained, in float32.

    Of the projections only the domain's rows get a gradient, so that the other rows stay as they are.
    """
    from peft import LoraConfig

    model.requires_grad_(False)
    torch.manual_seed(seed)
    model.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=TARGETS), ADAPTER)
    adapters = [n for n, _ in model.named_modules() if n.endswith((f"lora_A.{ADAPTER}", f"lora_B.{ADAPTER}"))]
    for name in (*adapters, *TABLES):
        module = model.get_submodule(name)
        module.weight = torch.nn.Parameter(module.weight.detach().float())
    return [p for p in model.parameters() if p.requires_grad]


def heads(model: Any, domain: int) -> dict[str, torch.Tensor]:
    """The rows of a domain, [1, ...] each."""
    return {table: model.get_submodule(table).weight.detach()[domain : domain + 1].clone() for table in TABLES}


def write_lora(model: Any, domain: int, folder: Path) -> None:
    """Write the LoRA as diffusers reads it (`load_lora_adapter(folder, prefix=None)`), and the domain's action projections."""
    from safetensors.torch import save_file

    with quiet():
        model.save_lora_adapter(folder, adapter_name=ADAPTER)
    rows = {table: row.contiguous().cpu() for table, row in heads(model, domain).items()}
    save_file(rows, folder / HEADS, metadata={"domain_id": str(domain)})
