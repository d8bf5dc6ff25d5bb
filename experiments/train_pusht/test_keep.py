"""What is kept of an unfinished run is what it had learnt."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import Cosmos3OmniTransformer
from strands_diffusers_training.parallel import Ranks

import strands_diffusers

from .keep import KeepConfig, run

MODEL = str(Path(strands_diffusers.__file__).parent / "assets" / "cosmos3_pusht")


def test_kept_weights_come_back_to_within_a_level(tmp_path: Path) -> None:
    file, folder = tmp_path / "kept.npz", tmp_path / "restored"
    base = Cosmos3OmniTransformer.from_pretrained(MODEL, subfolder="transformer").float().state_dict()
    generator = torch.Generator().manual_seed(0)
    trained = {k: v + 0.01 * torch.randn(v.shape, generator=generator) for k, v in base.items()}
    torch.save({"average": trained, "step": 7}, tmp_path / "transformer.pt")

    run(KeepConfig(init=MODEL, file=str(file)), tmp_path, Ranks())
    run(KeepConfig(init=MODEL, file=str(file), restore=str(folder)), tmp_path, Ranks())

    assert file.stat().st_size < 4_000_000
    again = Cosmos3OmniTransformer.from_pretrained(folder, subfolder="transformer").float().state_dict()
    name = "layers.2.mlp_moe_gen.up_proj.weight"
    moved, kept = trained[name] - base[name], again[name] - base[name]
    assert float((kept - moved).norm() / moved.norm()) < 0.25
    assert float((moved * kept).sum() / moved.norm() / kept.norm()) > 0.97


def test_nothing_to_keep_is_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="No transformer"):
        run(KeepConfig(init=MODEL), tmp_path, Ranks())
