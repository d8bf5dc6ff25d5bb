"""A true scene is never refused, whatever was done to its file; a photograph of something else is."""

import os
from pathlib import Path

import numpy as np
import pytest
from observing import ffmpeg
from PIL import Image

from strands_diffusers import ObservationRequest
from strands_diffusers.config import compose
from strands_diffusers.config.fields import Scene
from strands_diffusers.observations import scenes
from strands_diffusers.observations.media import read_clip
from strands_diffusers.observations.samples import SampleSource

SAMPLES = ("push_left", "push_right", "push_up", "push_down", "to_goal", "free_motion")
DATA = os.environ.get("STRANDS_DIFFUSERS_TEST_DATA")


def frames_of(name: str) -> np.ndarray:
    return SampleSource().read(name, ObservationRequest()).frames


def mismatched(frames) -> list[int]:
    return [i for i, frame in enumerate(frames) if scenes.mismatch(Scene.pusht, frame)]


def as_jpeg(frame: np.ndarray, path: Path, quality: int) -> np.ndarray:
    Image.fromarray(frame).save(path, quality=quality)
    return np.asarray(Image.open(path))


def as_video(frames: np.ndarray, path: Path, crf: int) -> np.ndarray:
    height, width = frames.shape[1:3]
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24")
    size = ("-s", f"{width}x{height}", "-r", "10")
    ffmpeg(*raw, *size, "-i", "-", "-pix_fmt", "yuv420p", "-crf", str(crf), path, pixels=frames.tobytes())
    return np.frombuffer(ffmpeg("-i", path, *raw, "-"), np.uint8).reshape(frames.shape)


def test_every_scene_that_a_model_can_name_has_a_look():
    assert set(scenes.LOOKS) == set(Scene)


def test_the_embedded_model_names_its_scene_and_others_name_none():
    assert compose.compose(["model=cosmos3_pusht"]).model.scene is Scene.pusht
    assert compose.compose(["model=custom", "model.repo=x/y", "domain=bridge"]).model.scene is None


@pytest.mark.parametrize("name", SAMPLES)
def test_no_frame_of_a_sample_is_refused_in_any_size_or_file(name, tmp_path):
    frames = frames_of(name)

    assert mismatched(frames) == []
    for size in (64, 224, 512):
        assert mismatched(np.asarray(Image.fromarray(frame).resize((size, size))) for frame in frames[::8]) == []
    for quality in (75, 30):
        assert mismatched(as_jpeg(frame, tmp_path / "f.jpg", quality) for frame in frames[::8]) == []
    for crf in (18, 35):
        assert mismatched(as_video(frames, tmp_path / "f.mp4", crf)) == []


def test_plain_pages_and_noise_and_a_sunny_scene_are_refused():
    white = np.full((96, 96, 3), 255, np.uint8)
    text, logo = white.copy(), white.copy()
    text[::8, 10:80] = 20
    logo[30:50, 30:50] = (30, 60, 220)
    logo[50:60, 30:50] = (230, 120, 20)
    noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)

    assert mismatched([white, text, logo, noise, np.zeros_like(white)]) == [0, 1, 2, 3, 4]


@pytest.mark.skipif(not DATA, reason="STRANDS_DIFFUSERS_TEST_DATA is not set: no photographs to look at")
def test_photographs_of_kitchens_hands_and_streets_are_refused():
    folder = Path(DATA or "")
    pictures = [
        np.asarray(Image.open(folder / "nvidia_cosmos" / name).convert("RGB")) for name in ("umi.png", "av_0.jpg")
    ]
    kitchens = sorted((folder / "cosmos3_nano").glob("rollout_policy_*.mp4"))
    pictures += [read_clip(video, num_frames=1).frames_FHWC[0] for video in kitchens]

    assert len(pictures) == 5
    assert mismatched(pictures) == [0, 1, 2, 3, 4]
