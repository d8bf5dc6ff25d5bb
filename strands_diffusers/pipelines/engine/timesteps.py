"""The timestep embedding of every denoising step, worked out before the loop.

diffusers embeds the timestep once per noisy token and step, though all tokens of a step share it. On a CPU, where the
numbers must be the same bit for bit, it is embedded here in those very shapes, and kept as one row where all rows came
out equal; over a sweep it is then never done again. On an accelerator one row per step is embedded at once.
"""

from typing import Any

import torch
from torch import Tensor

from strands_diffusers.pipelines.engine.memory import Memory, weights_key


def timestep_embeddings(
    transformer: Any, timesteps: list[int], counts: tuple[int, ...], device: Any, dtype: Any, memory: Memory
) -> list[tuple[Tensor | None, ...]]:
    """Return per step what to add to the noisy tokens of each stream, [1 or count, E]; None for a stream without any.

    `counts` are the noisy tokens of vision, sound and action in one sample.
    """
    weights = weights_key(transformer.time_embedder)
    table: dict[int, list[Tensor]] = {}
    for count in sorted(set(counts) - {0}):
        rows = count if torch.device(device).type == "cpu" else None

        def make(rows: int | None = rows) -> list[Tensor]:
            return _embed(transformer, timesteps, rows, device, dtype)

        key = ("timesteps", tuple(timesteps), rows, str(device), dtype, weights)
        table[count] = make() if weights is None else memory.get_or_make(key, make)
    return [tuple(table[count][step] if count else None for count in counts) for step in range(len(timesteps))]


def _embed(transformer: Any, timesteps: list[int], rows: int | None, device: Any, dtype: Any) -> list[Tensor]:
    """One embedding per step: [rows, E], or [1, E] where its rows are equal or `rows` is None."""
    embedder, scale = transformer.time_embedder, transformer.config.timestep_scale
    compute = next(embedder.parameters()).dtype
    if rows is None:
        steps = torch.tensor(timesteps, device=device) * scale
        return list(embedder(transformer.time_proj(steps).to(compute)).to(dtype).split(1))
    embeds = []
    for timestep in timesteps:
        steps = torch.full((rows,), timestep, device=device) * scale
        embed = embedder(transformer.time_proj(steps).to(compute)).to(dtype)
        embeds.append(embed[:1].clone() if bool((embed == embed[:1]).all()) else embed)
    return embeds
