"""The timestep embedding of every denoising step, worked out before the loop.

diffusers embeds the timestep once per noisy token and step, though all tokens of a step share it. Here all steps are
embedded in one matrix. On a CPU, where the numbers must be the same bit for bit, that matrix has the very shape of
diffusers' own, its rows taking the steps in turn: rows of the same step must come out equal wherever they lie, which is
checked, since a kernel may treat its last rows in another way. On an accelerator one row per step is enough.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from strands_diffusers.memory import Memory
from strands_diffusers.pipelines.engine.memory import kept

Embeddings = list[tuple[Tensor | None, ...]]
"""Per step, what to add to the noisy tokens of vision, sound and action: [1, E], or [count, E]; None without any."""


def timestep_embeddings(
    transformer: Any, timesteps: list[int], counts: tuple[int, ...], device: Any, dtype: Any, memory: Memory
) -> Embeddings:
    """Return the embeddings of all steps; `counts` are the noisy tokens of vision, sound and action in one sample."""
    table: dict[int, list[Tensor]] = {}
    for count in sorted(set(counts) - {0}):
        rows = count if torch.device(device).type == "cpu" else len(timesteps)
        key = ("timesteps", tuple(timesteps), rows, str(device), dtype)
        make = partial(_all_steps, transformer, timesteps, rows, device, dtype)
        table[count] = kept(memory, [transformer.time_embedder], key, make)
    return [tuple(table[count][step] if count else None for count in counts) for step in range(len(timesteps))]


def _all_steps(transformer: Any, timesteps: list[int], rows: int, device: Any, dtype: Any) -> list[Tensor]:
    """One embedding per step, [1, E] where rows of the same step are equal, else [rows, E]."""
    steps = torch.tensor(timesteps, device=device)
    if rows >= len(timesteps):
        turns = torch.arange(rows, device=device) % len(timesteps)
        embeds = _embed(transformer, steps[turns], dtype)
        once = embeds[: len(timesteps)]
        if rows == len(timesteps) or torch.equal(embeds, once[turns]):
            return list(once.clone().split(1))
    return [_embed(transformer, step.expand(rows), dtype) for step in steps]


def _embed(transformer: Any, timesteps: Tensor, dtype: Any) -> Tensor:
    """[rows] -> [rows, E]"""
    embedder = transformer.time_embedder
    scaled = transformer.time_proj(timesteps * transformer.config.timestep_scale)
    embeds: Tensor = embedder(scaled.to(next(embedder.parameters()).dtype)).to(dtype)
    return embeds
