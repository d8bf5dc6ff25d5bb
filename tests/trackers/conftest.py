from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from wandb_readback import isolate_wandb
from wandb_record import write_artifacts

from strands_diffusers.results import ActionSpace, Artifact, Rollout, RunInfo
from strands_diffusers.trackers.wandb import server


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty home folder, no wandb settings or keys, and a server that has not been given up."""
    import wandb

    home = tmp_path / "home"
    isolate_wandb(monkeypatch, home)
    # wandb reads the environment once per process: it shall be this one, not that of whichever test came first.
    if wandb.setup().settings.mode != wandb.Settings().mode:
        wandb.teardown()
        wandb.setup()
    monkeypatch.setattr(server, "_offline_because", None)
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
    """The files of a job, small but real: a video, a sound, a plot, an animation, and the action file."""
    return write_artifacts(info.directory)


@pytest.fixture
def another(tmp_path: Path) -> Callable[[str], RunInfo]:
    """Further jobs, by name."""

    def make(name: str) -> RunInfo:
        directory = tmp_path / name
        directory.mkdir()
        return RunInfo(name, directory, {"seed": 0}, "policy")

    return make
