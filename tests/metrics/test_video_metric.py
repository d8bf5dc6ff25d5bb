"""PSNR and SSIM against independent implementations, and what is never scored."""

import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from strands_diffusers.errors import ConfigError, OutputError
from strands_diffusers.metrics import similarity
from strands_diffusers.metrics.video import VideoMetric
from strands_diffusers.results import Rollout


def film(seed: int, frames: int = 9, height: int = 48, width: int = 80) -> np.ndarray:
    """Return a smooth scene with a moving blob, uint8 [F, H, W, 3]; the blob's way depends on `seed`."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    scene = 90 + 50 * np.sin(x[..., None] / 7 + np.array([0, 1, 2])) + 30 * np.cos(y[..., None] / 5)
    ways = 10 + np.cumsum(generator.uniform(-3, 4, (frames, 2)), axis=0)
    blobs = [60 * np.exp(-((y - way[0]) ** 2 + (x - way[1]) ** 2) / 40)[..., None] for way in ways]
    return np.stack([np.clip(scene + blob, 0, 255) for blob in blobs]).astype(np.uint8)


def score(video: np.ndarray, truth: np.ndarray | None, mode: str = "policy", **options: int) -> dict[str, float]:
    return VideoMetric(VideoMetric.Config(**options)).compute(Rollout(mode, video=video, reference_video=truth))


def plain_ssim(first: np.ndarray, second: np.ndarray) -> float:
    """SSIM as the paper writes it, in float64, one explicit window after the other."""
    offsets = np.arange(11) - 5
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()
    scores = []
    for channel in range(3):
        x = sliding_window_view(first[..., channel].astype(np.float64), (11, 11))
        y = sliding_window_view(second[..., channel].astype(np.float64), (11, 11))
        mean_x, mean_y = (x * window).sum((-2, -1)), (y * window).sum((-2, -1))
        from_x, from_y = x - mean_x[..., None, None], y - mean_y[..., None, None]
        var_x, var_y, cov = ((a * window).sum((-2, -1)) for a in (from_x**2, from_y**2, from_x * from_y))
        c1, c2 = 2.55**2, 7.65**2
        value = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
        scores.append(value.mean())
    return float(np.mean(scores))


def ffmpeg_psnr(first: np.ndarray, second: np.ndarray, folder: Path) -> float:
    """Return the average PSNR that ffmpeg's own filter reports for two raw RGB films."""
    inputs = []
    for name, video in (("a", first), ("b", second)):
        (folder / name).write_bytes(video.tobytes())
        size = f"{video.shape[2]}x{video.shape[1]}"
        inputs += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-i", str(folder / name)]
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        *inputs,
        "-lavfi",
        "format=gbrp[x];[1]format=gbrp[y];[x][y]psnr",
        "-f",
        "null",
        "-",
    ]
    log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    [average] = re.findall(r"average:([\d.]+)", log)
    return float(average)


def test_psnr_is_that_of_ffmpegs_filter_to_every_digit_that_it_prints(tmp_path: Path) -> None:
    video, truth = film(0), film(1)

    values = score(video, truth)

    assert values["psnr"] == pytest.approx(ffmpeg_psnr(video[1:], truth[1:], tmp_path), abs=1e-5)
    still = np.repeat(truth[:1], 8, axis=0)
    assert values["psnr_repeat_first_frame"] == pytest.approx(ffmpeg_psnr(still, truth[1:], tmp_path), abs=1e-5)


def test_ssim_is_that_of_the_papers_formula_to_six_digits() -> None:
    video, truth = film(0, frames=3), film(1, frames=3)

    values = score(video, truth)

    assert values["ssim"] == pytest.approx(
        np.mean([plain_ssim(a, b) for a, b in zip(video[1:], truth[1:], strict=True)]), abs=1e-6
    )
    assert values["ssim_repeat_first_frame"] == pytest.approx(
        np.mean([plain_ssim(truth[0], b) for b in truth[1:]]), abs=1e-6
    )


@pytest.mark.parametrize("size", [(11, 11), (11, 200), (75, 74), (138, 64), (139, 65)])
def test_ssim_holds_at_every_block_border(size: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    first = generator.integers(0, 256, (1, *size, 3), dtype=np.uint8)
    second = np.clip(first + generator.integers(-30, 31, first.shape), 0, 255).astype(np.uint8)

    assert similarity.ssim([first], second)[0] == pytest.approx(plain_ssim(first[0], second[0]), abs=1e-6)


def test_ssim_of_real_films_is_scikit_images_to_six_digits(data: Path) -> None:
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")

    def frames(name: str) -> np.ndarray:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(data / "cosmos3_nano" / name), "-f", "rawvideo"]
        raw = subprocess.run([*command, "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
        return np.frombuffer(raw, np.uint8).reshape(17, 480, 640, 3)

    films = frames("rollout_policy_1.mp4"), frames("rollout_policy_3.mp4")
    options = {
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
        "data_range": 255,
        "channel_axis": -1,
    }
    for index in (1, 8, 16):
        first, second = films[0][index], films[1][index]
        expected = metrics.structural_similarity(first, second, **options)
        assert similarity.ssim([first[None]], second[None])[0] == pytest.approx(expected, abs=1e-6)


def test_flat_frames_keep_their_digits() -> None:
    """Variances of a flat bright frame are differences of large squares: float32's weak spot."""
    first = np.full((1, 40, 30, 3), 250, np.uint8)
    second = first.copy()
    second[:, :20] -= 3

    assert similarity.ssim([first], second)[0] == pytest.approx(plain_ssim(first[0], second[0]), abs=1e-6)


def test_a_perfect_film_has_the_highest_score_and_it_is_finite() -> None:
    truth = film(0)
    nearly = truth.copy()
    nearly[1, 0, 0, 0] += 2

    perfect, good = score(truth, truth), score(nearly, truth)

    assert perfect["ssim"] == pytest.approx(1.0, abs=1e-6)
    assert good["psnr"] < perfect["psnr"] < 120


def test_frame_zero_does_not_count() -> None:
    video, truth = film(0), film(1)
    changed = video.copy()
    changed[0] = 255 - changed[0]

    assert score(changed, truth) == score(video, truth)


def test_only_the_frames_that_both_have_are_compared() -> None:
    video, truth = film(0), film(1)

    assert score(video, truth[:5]) == score(video[:5], truth[:5])
    assert score(video, truth[:5])["frames"] == 4


def test_moving_pixels_are_those_of_the_true_future() -> None:
    truth = np.full((2, 20, 20, 3), 100, np.uint8)
    truth[1, :5] = 130  # a quarter of the picture changes by 30
    video = truth.copy()
    video[1, :5, :, 0] = 120  # there, red is off by 10
    video[1, 10:] = 0  # and what did not move is wrong as well

    values = score(video, truth)

    assert values["moving_share"] == 0.25
    assert values["psnr_moving"] == pytest.approx(10 * np.log10(255**2 / (10**2 / 3)))
    assert values["psnr_moving_repeat_first_frame"] == pytest.approx(10 * np.log10(255**2 / 30**2))
    assert "psnr_moving" not in score(video, truth, moving_threshold=30)


def test_the_baseline_repeats_the_first_observed_frame() -> None:
    truth = film(1)

    values = score(np.repeat(truth[:1], 9, axis=0), truth)

    for name in ("psnr", "psnr_moving", "ssim"):
        assert values[name] == values[f"{name}_repeat_first_frame"]


@pytest.mark.parametrize("mode", ["inverse_dynamics", "text", "image", "video"])
def test_a_film_that_is_no_prediction_of_a_known_future_is_never_scored(mode: str) -> None:
    assert score(film(0), film(1), mode) == {}


def test_without_a_true_future_there_is_nothing_to_say() -> None:
    assert score(film(0), None) == {}
    assert score(film(0), film(1)[:1]) == {}


def test_a_reference_of_another_size_is_refused() -> None:
    with pytest.raises(OutputError, match="frames of 48x64, the rollout of 48x80"):
        score(film(0), film(0, width=64))


def test_frames_smaller_than_the_window_have_a_psnr_and_no_ssim() -> None:
    values = score(film(0, height=8), film(1, height=8))

    assert {"psnr", "psnr_moving"} <= set(values)
    assert not {"ssim", "ssim_repeat_first_frame"} & set(values)


def test_every_value_is_declared_and_a_plain_float() -> None:
    values = score(film(0), film(1))

    assert set(values) == set(VideoMetric.measures)
    assert all(type(value) is float for value in values.values())


@pytest.mark.parametrize("threshold", [-1, 255])
def test_a_threshold_outside_the_levels_is_refused(threshold: int) -> None:
    with pytest.raises(ConfigError, match="moving_threshold must be from 0 to 254"):
        VideoMetric.Config(moving_threshold=threshold)
