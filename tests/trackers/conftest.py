from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
from PIL import Image
from wandb_readback import isolate_wandb

from strands_diffusers.results import ActionSpace, Artifact, Rollout, RunInfo
from strands_diffusers.trackers import wandb_server as mode


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty home folder, no wandb settings or keys, and a server that has not been given up."""
    home = tmp_path / "home"
    isolate_wandb(monkeypatch, home)
    monkeypatch.setattr(mode, "_offline_because", None)
    return home


@pytest.fixture
def fresh_session():
    """wandb reads its settings once per process: for tests that change them, before and after."""
    import wandb

    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def info(tmp_path: Path) -> RunInfo:
    directory = tmp_path / "my job"
    directory.mkdir()
    config = {"model": {"name": "cosmos3_pusht"}, "seed": 3, "condition": {"mode": "policy", "actions": None}}
    return RunInfo("policy-bridge-seed3", directory, config, "policy", "2026-11-22/10-00-00", ("bridge", "demo"))


@pytest.fixture
def rollout() -> Rollout:
    rng = np.random.default_rng(0)
    return Rollout(
        mode="policy",
        prompt="Put the pot to the left.",
        seed=3,
        video=rng.integers(0, 255, (5, 48, 64, 3), np.uint8),
        action=rng.normal(size=(2, 4, 10)).astype(np.float32),
        fps=5.0,
        space=ActionSpace("bridge_orig_lerobot"),
        seconds={"denoise": 1.5},
    )


@pytest.fixture
def artifacts(info: RunInfo) -> list[Artifact]:
    """The files of a job, small but real: a film, a sound, a plot, a second film, and the action file."""
    return write_artifacts(info.directory)


@pytest.fixture
def another(tmp_path: Path) -> Callable[[str], RunInfo]:
    """Further jobs, by name."""

    def make(name: str) -> RunInfo:
        directory = tmp_path / name
        directory.mkdir()
        return RunInfo(name, directory, {"seed": 0}, "policy")

    return make


def write_artifacts(directory: Path) -> list[Artifact]:
    film(directory / "video.mp4", shade=90)
    film(directory / "animation.mp4", shade=200)
    soundfile.write(directory / "sound.wav", np.zeros((800, 1), np.float32), 8000, subtype="FLOAT")
    Image.new("RGB", (40, 30), "teal").save(directory / "timeseries.png")
    (directory / "action.json").write_text("[]")
    types = {"video.mp4": "video", "sound.wav": "sound", "timeseries.png": "timeseries", "animation.mp4": "animation"}
    types["action.json"] = "action"
    return [Artifact(directory / name, kind) for name, kind in types.items()]


@pytest.fixture(name="film")
def _film() -> Callable[[Path, int], Path]:
    return film


def film(path: Path, shade: int) -> Path:
    writer = imageio_ffmpeg.write_frames(str(path), (64, 48), fps=5, macro_block_size=1)
    writer.send(None)
    for step in range(5):
        writer.send(np.full((48, 64, 3), shade + step, np.uint8))
    writer.close()
    return path
