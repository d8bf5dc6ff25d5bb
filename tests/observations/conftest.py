from collections.abc import Callable
from pathlib import Path

import pytest
from observing import CODECS, ffmpeg, striped

from strands_diffusers.observations import register_sources
from strands_diffusers.plugin.base import Source
from strands_diffusers.plugin.guard import GuardedSource


@pytest.fixture
def write_clip(tmp_path: Path) -> Callable[..., Path]:
    """Write `striped` frames to a clip; `options` go to the encoder."""

    def write(name: str = "clip.mp4", num_frames: int = 17, fps: str = "5", *options: str) -> Path:
        path = tmp_path / name
        frames = striped(num_frames)
        size = f"{frames.shape[2]}x{frames.shape[1]}"
        codec = [] if "-c:v" in options else CODECS[path.suffix[1:]]
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", fps, "-i", "-"]
        ffmpeg(*raw, *codec, *options, f"file:{path}", pixels=frames.tobytes())
        return path

    return write


@pytest.fixture
def sources() -> dict[str, Source]:
    """The built-in sources, as their hooks register them."""
    return {cls.scheme: GuardedSource("", cls()) for cls in register_sources()}
