"""What was not trained in the work folder is exported as the pipeline given by `--init` has it."""

import json
from pathlib import Path

import pytest
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
