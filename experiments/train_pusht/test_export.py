"""What was not trained in the work folder is exported as the pipeline given by `--init` has it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from strands_diffusers_training.parallel import Ranks

import strands_diffusers

from .export import ExportConfig, run

MODEL = Path(strands_diffusers.__file__).parent / "assets" / "cosmos3_pusht"


def test_a_pipeline_that_nothing_was_trained_on_comes_out_as_it_went_in(tmp_path: Path) -> None:
    run(ExportConfig(init=str(MODEL), to=str(tmp_path / "out")), tmp_path, Ranks())
    for part in ("vae", "transformer"):
        weights = Path(part) / "diffusion_pytorch_model.safetensors"
        assert (tmp_path / "out" / weights).read_bytes() == (MODEL / weights).read_bytes(), part
        out, shipped = (json.loads((root / part / "config.json").read_text()) for root in (tmp_path / "out", MODEL))
        assert out == shipped


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path: Path) -> None:
    missing = tmp_path / "vae_cooled.pt"
    with pytest.raises(SystemExit, match="There is no checkpoint"):
        run(ExportConfig(init=str(MODEL), decoder=str(missing), to=str(tmp_path / "out")), tmp_path, Ranks())
    assert not (tmp_path / "out").exists()


def test_the_mean_of_two_runs_is_half_way_between_them(tmp_path: Path) -> None:
    shutil.copytree(MODEL, tmp_path / "moved")
    file = tmp_path / "moved" / "transformer" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    save_file({name: value + 1 for name, value in weights.items()}, file, metadata={"format": "pt"})
    both = f"{MODEL},{tmp_path / 'moved'}"
    run(ExportConfig(init=str(MODEL), mean=both, to=str(tmp_path / "out")), tmp_path, Ranks())
    found = load_file(tmp_path / "out" / "transformer" / "diffusion_pytorch_model.safetensors")
    moved = load_file(file)
    for name, value in weights.items():
        expected = (value.float() + moved[name].float()) / 2
        torch.testing.assert_close(found[name], expected.to(value.dtype), msg=name)


def test_a_mean_without_a_folder_for_the_rest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="from --init FOLDER"):
        run(ExportConfig(mean=str(MODEL), to=str(tmp_path / "out")), tmp_path, Ranks())
