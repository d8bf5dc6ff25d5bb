"""Rollouts to write and draw, and readers that share no code with the writers."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from rollouts import moving_frames

from strands_diffusers.results import ActionSpace, Observation, Rollout


def _ffmpeg() -> str:
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


@pytest.fixture
def probe():
    """Return ffmpeg's own description of a file's streams."""

    def read(path: Path) -> str:
        return subprocess.run([_ffmpeg(), "-hide_banner", "-i", str(path)], capture_output=True, text=True).stderr

    return read


@pytest.fixture
def decode(probe):
    """Return a film's frames, uint8 `[F, H, W, 3]`, without dropping or repeating any."""

    def read(path: Path) -> np.ndarray:
        width, height = (int(n) for n in re.search(r"Video: .*? (\d+)x(\d+)[, ]", probe(path)).groups())
        command = [_ffmpeg(), "-loglevel", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24"]
        raw = subprocess.run([*command, "-fps_mode", "passthrough", "-"], capture_output=True, check=True).stdout
        return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)

    return read


@pytest.fixture
def data() -> Path:
    """The folder of real data."""
    folder = os.environ.get("STRANDS_DIFFUSERS_TEST_DATA")
    if not folder:
        pytest.skip("STRANDS_DIFFUSERS_TEST_DATA is not set: no real data to draw")
    return Path(folder)


@pytest.fixture
def bridge() -> Rollout:
    """A policy rollout of the Bridge domain with a film."""
    action_KTD = np.random.default_rng(0).uniform(-1, 1, (1, 16, 10)).astype(np.float32)
    return Rollout(
        mode="policy",
        prompt="Put the pot to the left of the purple item.",
        seed=0,
        video=moving_frames(),
        fps=5.0,
        action=action_KTD,
        space=ActionSpace("bridge_orig_lerobot", statistics="bridge_orig_lerobot"),
        observation=Observation(frames=moving_frames(1), task="Put the pot to the left."),
    )


def _mounted(options: str):
    """Mount a tmpfs, yield its folder and unmount it."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount the small tmpfs that stands for a full or a write-protected disk")
    with tempfile.TemporaryDirectory() as name:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", name], capture_output=True)
        if mounted.returncode:
            pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "-l", name], check=True)


@pytest.fixture
def full_folder():
    """An almost full file system of 64 KiB."""
    yield from _mounted("size=64k")


@pytest.fixture
def protected_folder(tmp_path):
    """A folder that this user may not write to: without the permission, or for root on a read-only file system."""
    if os.geteuid() == 0:
        yield from _mounted("ro")
    else:
        tmp_path.chmod(0o500)
        yield tmp_path
        tmp_path.chmod(0o700)
