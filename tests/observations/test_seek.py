"""A window deep in a long clip is sought, and is the same window."""

import subprocess

import numpy as np
import pytest
from observing import ffmpeg

from strands_diffusers import read_clip
from strands_diffusers.errors import ObservationError

FPS, FRAMES = 15, 120


def encode(path, codec, *options):
    """A clip whose frame i is a grey of its own, with key frames so far apart that a seek must decode to get there."""
    frames_FHWC = np.broadcast_to(np.arange(FRAMES, dtype=np.uint8)[:, None, None, None] * 2, (FRAMES, 64, 64, 3))
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x64", "-r", FPS, "-i", "-"]
    coded = ["-c:v", codec, "-g", "50", "-pix_fmt", "yuv420p"]
    ffmpeg(*raw, *coded, *options, path, pixels=frames_FHWC.tobytes())


@pytest.mark.parametrize(("codec", "options"), [("libx264", ("-bf", "3")), ("libsvtav1", ("-preset", "10"))])
def test_a_seek_lands_on_the_very_frame(codec, options, tmp_path):
    path = tmp_path / "clip.mp4"
    try:
        encode(path, codec, *options)
    except subprocess.CalledProcessError as error:
        if codec == "libx264":
            raise
        pytest.skip(f"this ffmpeg has no {codec}: {error.stderr.decode()[:80]}")

    whole_FHWC = read_clip(path).frames_FHWC
    for first in (1, 37, 49, 50, 51, 99, FRAMES - 3):
        clip = read_clip(path, num_frames=3, from_s=(first - 0.5) / FPS)

        np.testing.assert_array_equal(clip.frames_FHWC, whole_FHWC[first : first + 3])
        assert clip.first_s == pytest.approx(first / FPS, abs=2e-3)
        assert clip.fps == pytest.approx(FPS)


def test_a_seek_beyond_the_end_says_how_long_the_clip_is(tmp_path):
    encode(tmp_path / "clip.mp4", "libx264")

    with pytest.raises(ObservationError, match=r"ends before 8\.1 s: it has 120 frames"):
        read_clip(tmp_path / "clip.mp4", from_s=8.1)
