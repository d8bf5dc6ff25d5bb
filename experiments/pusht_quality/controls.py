"""Copies of a checkpoint that cannot obey, to try verdicts on: `python -m experiments.pusht_quality.controls PIPELINE --out DIR`.

- `random`: every matrix of the transformer shuffled: values of the right size without meaning.
- `deaf`: the projection of the actions is zero: all else as trained, and no action reaches it.
- `confused`: that projection shuffled: actions reach the model, and mean nothing.

Then, for each: `MODEL=DIR/deaf experiments/pusht_quality/tables.sh OUT 24 sensitivity`.
"""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
ACTIONS_IN = "action_proj_in.fc.weight"


def _shuffled(value: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return value.flatten()[torch.randperm(value.numel(), generator=generator)].view(value.shape)


def randomised(weights: dict[str, torch.Tensor]) -> None:
    """Shuffle every matrix."""
    generator = torch.Generator().manual_seed(0)
    for name, value in weights.items():
        if value.ndim >= 2:
            weights[name] = _shuffled(value, generator)


def deafened(weights: dict[str, torch.Tensor]) -> None:
    """Let no action in."""
    weights[ACTIONS_IN] = torch.zeros_like(weights[ACTIONS_IN])


def confused(weights: dict[str, torch.Tensor]) -> None:
    """Shuffle how each domain's actions come in: one row is one domain's."""
    generator = torch.Generator().manual_seed(0)
    weights[ACTIONS_IN] = torch.stack([_shuffled(row, generator) for row in weights[ACTIONS_IN]])


CONTROLS: dict[str, Callable[[dict[str, torch.Tensor]], None]] = {
    "random": randomised,
    "deaf": deafened,
    "confused": confused,
}


def spoil(pipeline: Path, folder: Path, control: str) -> None:
    """Write one of the copies of a pipeline to a new folder."""
    shutil.copytree(pipeline, folder, ignore=shutil.ignore_patterns("samples"))
    weights = load_file(folder / WEIGHTS)
    CONTROLS[control](weights)
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / WEIGHTS, metadata={"format": "pt"})


def main() -> None:
    """Write `DIR/random`, `DIR/deaf` and `DIR/confused`."""
    parser = argparse.ArgumentParser(prog="python -m experiments.pusht_quality.controls", description=__doc__)
    parser.add_argument("pipeline", type=Path, help="a save_pretrained folder")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for name in CONTROLS:
        spoil(options.pipeline, options.out / name, name)
        print(options.out / name)


if __name__ == "__main__":
    main()
