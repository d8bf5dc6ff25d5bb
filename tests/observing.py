"""Clips that can be told apart frame by frame, and what every refusal must look like."""

import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from strands_diffusers.results import ObservationRequest

CODECS = {
    "mp4": ["-c:v", "libx264rgb", "-crf", "0"],
    "mov": ["-c:v", "libx264rgb", "-crf", "0"],
    "mkv": ["-c:v", "ffv1"],
    "webm": ["-c:v", "libvpx-vp9", "-b:v", "1M"],
    "avi": ["-c:v", "mpeg4", "-q:v", "2"],
    "gif": [],
}


def ffmpeg(*arguments: str | Path, pixels: bytes = b"") -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, input=pixels, check=True, capture_output=True).stdout


def striped(num_frames: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Frames that can be told apart: brightness 10 * index, with a bright corner and a random patch."""
    rng = np.random.default_rng(0)
    frames_FHWC = np.empty((num_frames, height, width, 3), np.uint8)
    frames_FHWC[:] = (10 * np.arange(num_frames) % 250)[:, None, None, None]
    frames_FHWC[:, :8, :8] = 255
    frames_FHWC[:, 16:32, 16:32] = rng.integers(0, 255, (num_frames, 16, 16, 3))
    return frames_FHWC


def indexes(frames_FHWC: np.ndarray) -> list[int]:
    """Which of `striped`'s frames these are."""
    return [round(float(frame[40:, 40:].mean()) / 10) for frame in frames_FHWC]


def request(
    mode: str = "policy", num_frames: int | None = 17, fps: float | None = 5.0, domain: str | None = None
) -> ObservationRequest:
    return ObservationRequest(num_frames, fps, domain, mode)


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert not re.search(r"0x[0-9a-f]{8,}", text), "no addresses of the decoder's internals"
    assert 20 < len(text) < 700
    return text


def attempt(call, *expected):
    """What `call` returns, and the message of an error of the expected kind; anything else it raises goes on."""
    try:
        return call(), None
    except expected as error:
        return None, str(error)
