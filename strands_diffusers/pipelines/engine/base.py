"""What every engine takes and gives (`strands_diffusers.plugin.engine`), and the random generator of one sample."""

from typing import Any

from strands_diffusers.plugin.engine import Call, Engine, Progress, Sample

__all__ = ["Call", "Engine", "Progress", "Sample", "generator"]


def generator(seed: int) -> Any:
    """Return the random generator of one sample: on the CPU, whatever the device.

    diffusers then draws the noise on the host and moves it, so that a seed names the same noise on every machine.
    """
    import torch

    return torch.Generator("cpu").manual_seed(seed)
