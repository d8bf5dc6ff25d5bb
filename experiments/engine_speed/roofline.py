"""Operations of one denoising step, and how fast this machine multiplies matrices: the floor that is left."""

from __future__ import annotations

import time
from typing import Any


def step_operations(config: Any, tokens: int, text: int) -> float:
    """Multiplications and additions of one pass over the generated tokens [floating-point operations]."""
    hidden, head = config.hidden_size, config.head_dim
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    matrices = (config.hidden_act == "silu" and 3) or 2
    per_token = hidden * (2 * queries + 2 * keys) + matrices * hidden * config.intermediate_size
    attention = 2 * tokens * (tokens + text) * queries
    return 2.0 * config.num_hidden_layers * (tokens * per_token + attention)


def matrix_throughput(device: str, dtype: Any, size: int) -> float:
    """Measured speed of one large matrix product [operations per second], the best of several."""
    import torch

    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(5):
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(4):
            a @ b
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        best = max(best, 4 * 2.0 * size**3 / (time.perf_counter() - started))
    return best
