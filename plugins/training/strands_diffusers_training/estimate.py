"""The memory and the arithmetic of training, worked out from sizes before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Size:
    """Of a Cosmos 3 pipeline."""

    numbers: float
    """All weights, the autoencoder's too."""
    hidden: int
    intermediate: int
    layers: int
    keys: int
    """Width of the keys, and of the values."""
    gated: bool
    """Whether the MLP has a gate (Nano) or two matrices (Edge)."""
    action_dim: int = 64
    patch: int = 2
    full: bool = False
    """Trained in all its weights, in float32."""

    @property
    def mlp(self) -> int:
        """Matrices of the MLP."""
        return 3 if self.gated else 2

    @property
    def stream(self) -> float:
        """Numbers of the generation stream, which each generated token passes."""
        attention = 2 * self.hidden**2 + 2 * self.hidden * self.keys
        return self.layers * (attention + self.mlp * self.hidden * self.intermediate)


NANO = Size(16.5e9, 4096, 12288, 36, 1024, gated=True)
EDGE = Size(4.1e9, 2048, 9216, 28, 1024, gated=False)
"""Sizes of the checkpoints on the Hub; Edge's keys are taken for as wide as Nano's."""

TEXT = 200
"""Tokens of a caption."""


def size_of(transformer: Mapping[str, Any], numbers: Mapping[str, int], full: bool) -> Size:
    """Of a local checkpoint, by its config and the headers of its files."""
    head = transformer.get("head_dim") or 128
    return Size(
        sum(numbers.values()),
        transformer.get("hidden_size", 4096),
        transformer.get("intermediate_size", 12288),
        transformer.get("num_hidden_layers", 36),
        head * transformer.get("num_key_value_heads", 8),
        transformer.get("hidden_act", "silu") == "silu",
        transformer.get("action_dim") or 64,
        transformer.get("latent_patch_size", 2),
        full,
    )


def tokens_of(size: Size, latent: tuple[int, int, int, int], chunk: int) -> int:
    """Generated tokens of a window."""
    _, frames, height, width = latent
    return frames * -(-height // size.patch) * -(-width // size.patch) + chunk


def lora_numbers(size: Size, rank: int) -> float:
    """Numbers of a LoRA on the generation stream."""
    attention = 4 * size.hidden + 2 * (size.hidden + size.keys)
    return size.layers * rank * (attention + size.mlp * (size.hidden + size.intermediate))


def memory_gb(size: Size, tokens: int, batch: int, rank: int, checkpointing: bool) -> float:
    """Memory of a process [GB]: weights, what is trained (with gradient, average, two moments), and activations."""
    trained = lora_numbers(size, rank) + 2 * 32 * size.hidden * size.action_dim
    held = 5 * 4 * size.numbers if size.full else 2 * size.numbers + 5 * 4 * trained
    plain = 8 * size.hidden + 2 * size.keys + size.mlp * size.intermediate
    adapter = 0 if size.full else 6 * size.hidden + size.intermediate  # inputs of a LoRA, in float32
    layer = (tokens + TEXT) * (2 * plain + 4 * adapter)
    kept = size.layers * 2 * size.hidden * (tokens + TEXT) + layer if checkpointing else size.layers * layer
    return (held + batch * kept) / 1e9


def teraflop(size: Size, tokens: int, checkpointing: bool) -> float:
    """Arithmetic of training on one window [10^12 operations]: forward, back, and forward once more with `checkpointing`."""
    forward = 2 * size.stream * (tokens + TEXT) / 1e12
    back = 2 * forward if size.full else forward  # the frozen matrices need no gradient of their own
    return forward + back + (forward if checkpointing else 0.0)
