"""`video.mp4`: what a browser, a person and a reader that shares no code with the writer find in it."""

import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from strands_diffusers.errors import ConfigError, OutputError
from strands_diffusers.outputs.serializers import VideoSerializer
from strands_diffusers.outputs.video_file import Preset, write_mp4
from strands_diffusers.results import Rollout


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))


def save(rollout: Rollout, folder: Path, **options) -> Path:
    [artifact] = VideoSerializer(VideoSerializer.Config(**options)).save(rollout, folder)
    assert artifact.type == "video"
    return artifact.path


def test_a_film_holds_every_frame_at_the_models_size_and_rate(bridge, tmp_path, decode, probe):
    path = save(bridge, tmp_path)

    assert path == tmp_path / "video.mp4"
    assert decode(path).shape == (17, 96, 128, 3)
    assert psnr(decode(path), bridge.video) > 40
    assert re.search(r"Video: h264 \(High\).*yuv420p\(tv.*128x96.* 5 fps", probe(path))
    assert "Audio" not in probe(path)


def test_a_real_rollout_keeps_35_db_with_the_default_quality(data, tmp_path, decode):
    frames_FHWC = decode(data / "cosmos3_nano" / "rollout_policy_1.mp4")
    path = save(Rollout(mode="policy", video=frames_FHWC, fps=5.0), tmp_path)

    stored_FHWC = decode(path)
    assert stored_FHWC.shape == (17, 480, 640, 3)
    assert min(psnr(a, b) for a, b in zip(stored_FHWC, frames_FHWC, strict=True)) > 38


def test_colours_come_back_as_they_went_in(tmp_path, decode):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (240, 180, 20)]
    for colour in colours:
        frames_FHWC = np.full((3, 64, 64, 3), colour, np.uint8)
        path = save(Rollout(mode="text", video=frames_FHWC, fps=10.0), tmp_path)
        assert np.abs(decode(path).astype(int) - frames_FHWC).max() <= 4, colour


def test_the_index_stands_before_the_frames_so_that_a_browser_can_start_at_once(bridge, tmp_path):
    content = save(bridge, tmp_path).read_bytes()

    assert 0 < content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("fps", [3.0, 7.5, 23.976, 60.0])
def test_the_rate_is_baked_in(bridge, tmp_path, probe, fps):
    path = save(replace(bridge, fps=fps), tmp_path)

    hours, minutes, seconds = re.search(r"Duration: (\d+):(\d+):([\d.]+)", probe(path)).groups()
    assert int(hours) * 3600 + int(minutes) * 60 + float(seconds) == pytest.approx(17 / fps, abs=0.02)


def test_a_film_of_one_frame_is_a_film(bridge, tmp_path, decode):
    assert decode(save(replace(bridge, video=bridge.video[:1]), tmp_path)).shape == (1, 96, 128, 3)


def test_an_odd_size_is_padded_by_one_and_says_so(bridge, tmp_path, decode, caplog):
    odd_FHWC = bridge.video[:, :95, :127]
    with caplog.at_level(logging.WARNING):
        [artifact] = VideoSerializer().save(replace(bridge, video=odd_FHWC), tmp_path)

    stored_FHWC = decode(artifact.path)
    assert stored_FHWC.shape == (17, 96, 128, 3)
    assert psnr(stored_FHWC[:, :95, :127], odd_FHWC) > 40
    assert artifact.details["padded"] == [1, 1]
    assert artifact.details["shape"] == [17, 95, 127, 3]
    assert "95x127 is odd" in caplog.text


def test_the_film_carries_the_sound_uncut(bridge, tmp_path, probe, decode):
    time_N = np.arange(48_000 * 5) / 48_000
    sound_NC = np.stack([np.sin(2 * np.pi * 440 * time_N), np.sin(2 * np.pi * 660 * time_N)], axis=1).astype(np.float32)
    rollout = replace(bridge, sound=0.5 * sound_NC, sampling_rate=48_000)

    path = save(rollout, tmp_path)

    assert re.search(r"Audio: aac .* 48000 Hz, stereo", probe(path))
    assert "00:00:05.0" in probe(path)  # 17 frames at 5 fps last 3.4 s, the sound 5 s
    assert len(decode(path)) == 17
    assert [p.name for p in tmp_path.iterdir()] == ["video.mp4"]


def test_the_sound_can_be_left_out_of_the_film(bridge, tmp_path, probe):
    rollout = replace(bridge, sound=np.zeros((48_000, 2), np.float32), sampling_rate=48_000)

    assert "Audio" not in probe(save(rollout, tmp_path, sound=False))


def test_a_higher_crf_makes_a_smaller_film(bridge, tmp_path):
    fine = save(bridge, tmp_path, crf=4).stat().st_size
    coarse = save(bridge, tmp_path, crf=40, preset=Preset.medium).stat().st_size

    assert coarse < fine / 2


@pytest.mark.parametrize("crf", [0, 52, -1])
def test_a_crf_that_no_browser_can_play_is_refused(crf):
    with pytest.raises(ConfigError, match=rf"output\.video\.crf must be 1 .* to 51, got {crf}"):
        VideoSerializer.Config(crf=crf)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"video": np.zeros((17, 96, 128, 3), np.float32)}, r"uint8 array \[F, H, W, 3\].*float32"),
        ({"video": np.zeros((17, 3, 96, 128), np.uint8)}, r"shape \[F, H, W, 3\].*\(17, 3, 96, 128\)"),
        ({"video": np.zeros((0, 96, 128, 3), np.uint8)}, "at least one pixel"),
        ({"fps": None}, "rate above 0 Hz, got None"),
        ({"fps": 0.0}, "rate above 0 Hz, got 0.0"),
        ({"fps": float("nan")}, "rate above 0 Hz, got nan"),
        ({"sound": np.full((100, 2), np.nan, np.float32), "sampling_rate": 48_000}, "NaN or inf in 200 of 200"),
    ],
)
def test_what_is_not_a_film_is_refused_and_nothing_is_written(bridge, tmp_path, changes, said):
    with pytest.raises(OutputError, match=said):
        VideoSerializer().save(replace(bridge, **changes), tmp_path)
    assert not list(tmp_path.iterdir())


def test_frames_of_different_sizes_are_refused_and_nothing_stays(tmp_path):
    frames = [np.zeros((96, 128, 3), np.uint8)] * 4 + [np.zeros((96, 64, 3), np.uint8)]

    with pytest.raises(OutputError, match=r"frame 4 of a video is uint8 \(96, 64, 3\)"):
        write_mp4(tmp_path / "x.mp4", frames, 5.0)
    assert not list(tmp_path.iterdir())


def test_an_error_while_frames_are_made_ends_the_encoder_and_leaves_no_file(tmp_path):
    def frames():
        yield np.zeros((96, 128, 3), np.uint8)
        raise KeyError("the third one")

    with pytest.raises(KeyError, match="the third one"):
        write_mp4(tmp_path / "x.mp4", frames(), 5.0)
    assert not list(tmp_path.iterdir())


def test_no_frames_at_all_are_refused(tmp_path):
    with pytest.raises(OutputError, match=r"x\.mp4 has no frames"):
        write_mp4(tmp_path / "x.mp4", [], 5.0)
