"""Stage `keep`: an unfinished run's weights in two megabytes, to be committed and gone on from on another machine.

Kept is how far the averaged weights of the transformer moved from `--init`, in 15 levels per row: what is lost is a tenth of a
typical move. `--restore FOLDER` writes the pipeline they make, which is the next run's `--init`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import Cosmos3OmniTransformer
from strands_diffusers_training.optim import newest
from strands_diffusers_training.parallel import Ranks

LEVELS = 7


@dataclass
class KeepConfig:
    """Writes, or restores, a run that is not finished."""

    init: str = ""
    """The `--init` of the run."""

    file: str = str(Path(__file__).parent / "kept.npz")
    """Where the weights are kept."""

    restore: str = ""
    """A pipeline folder to write from `init` and the file; empty: write the file."""


def run(config: KeepConfig, work: Path, ranks: Ranks) -> None:
    """Write the file from WORK's newest weights, or the folder from the file."""
    if not ranks.first:
        return
    if config.restore:
        restore(Path(config.init), Path(config.file), Path(config.restore))
        return
    state = newest(work / "transformer.pt")
    if state is None:
        raise SystemExit(f"No transformer in {work} yet. Run the stage `transformer` first.")
    base = Cosmos3OmniTransformer.from_pretrained(config.init, subfolder="transformer").float().state_dict()
    arrays: dict[str, np.ndarray] = {"step": np.array(state["step"])}
    for name, value in state["average"].items():
        moved = (value - base[name]).reshape(len(value), -1)
        if name.startswith(("embed_tokens", "lm_head")) or not moved.any():
            continue  # a caption's words are known; a few hundred steps move them little
        scale = (moved.abs().amax(1, keepdim=True) / LEVELS).clamp(min=1e-12)
        arrays[f"{name}/levels"] = (moved / scale).round().to(torch.int8).numpy()
        arrays[f"{name}/scale"] = scale.numpy()
    np.savez_compressed(config.file, allow_pickle=False, **arrays)
    print(f"{Path(config.file).stat().st_size / 1e6:.1f} MB, step {state['step']}: {config.file}")


def restore(init: Path, file: Path, folder: Path) -> None:
    """Write `init` with its transformer moved as the file says."""
    model = Cosmos3OmniTransformer.from_pretrained(init, subfolder="transformer").float()
    weights = model.state_dict()
    with np.load(file) as kept:
        for key in kept.files:
            name, _, part = key.rpartition("/")
            if part == "levels":
                moved = torch.from_numpy(kept[key].astype("f4") * kept[f"{name}/scale"])
                weights[name] += moved.view_as(weights[name])
        print(f"step {kept['step']}: {folder}")
    shutil.copytree(init, folder, ignore=shutil.ignore_patterns("samples", "README.md"))
    model.to(torch.bfloat16).save_pretrained(folder / "transformer")
