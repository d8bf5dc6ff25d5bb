"""PSNR and SSIM of uint8 frames, numpy only.

Array suffixes: F frames, H height, W width, C channels. Frames of one clip are paired with those of another by index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from strands_diffusers.lazy import np

WINDOW, SIGMA = 11, 1.5
"""Side and standard deviation of the Gaussian window of Wang et al. 2004 [pixels]."""

_PEAK = 255.0
_C1, _C2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
_BLOCK = 32


def squared_error(first_HWC: np.ndarray, second_HWC: np.ndarray) -> np.ndarray:
    """Return the squared differences of two uint8 frames, int32 planes `[C, H, W]`."""
    difference = np.ascontiguousarray(np.moveaxis(first_HWC, -1, 0)).astype(np.int32)
    difference -= np.moveaxis(second_HWC, -1, 0)
    difference *= difference
    return difference


def psnr(total_squared_error: float, count: int) -> float:
    """Return the PSNR [dB] of `count` 8-bit values whose squared errors add up to `total_squared_error`.

    Identical values count as one that is off by one level, the least error that there can be: the score of a perfect
    copy is then finite (119.8 dB for 16 frames of 480x640) and still above every other.
    """
    return float(10.0 * np.log10(_PEAK**2 * count / max(total_squared_error, 1.0)))


def ssim(videos: Sequence[np.ndarray], truth_FHWC: np.ndarray) -> list[float]:
    """Return the structural similarity of each video to the true one, -1 to 1: mean over frames, channels and windows.

    Gaussian window of 11x11 pixels and 1.5 standard deviation, K1 = 0.01, K2 = 0.03, peak 255, population covariance,
    only windows that lie inside the frame: what scikit-image computes with `gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=255, channel_axis=-1`, to 6 digits.

    Shapes: uint8 `[F, H, W, C]`, H and W at least 11; a video `[1, H, W, C]` stands for that frame repeated.
    Source: Wang, Bovik, Sheikh, Simoncelli 2004, "Image quality assessment: from error visibility to structural
        similarity".
    """
    stills = {index: _moments(video[0]) for index, video in enumerate(videos) if len(video) == 1}
    totals = np.zeros(len(videos))
    for t, frame_HWC in enumerate(truth_FHWC):
        truth = _moments(frame_HWC)
        for index, video in enumerate(videos):
            totals[index] += _similarity(stills[index] if index in stills else _moments(video[t]), truth)
    return [float(total / len(truth_FHWC)) for total in totals]


class _Moments(NamedTuple):
    """A frame's planes `[C, H, W]` about their own mean colour, and the local means and variances `[C, H', W']`."""

    centred: np.ndarray
    mean: np.ndarray
    """Of the centred planes."""
    centre: np.ndarray
    variance: np.ndarray


def _moments(frame_HWC: np.ndarray) -> _Moments:
    # Variances and covariances are differences of products: centred values keep their float32 digits.
    planes = np.moveaxis(frame_HWC, -1, 0).astype(np.float32, order="C")
    centre = planes.mean(axis=(1, 2), keepdims=True)
    planes -= centre
    mean, square = _blur(np.stack([planes, planes * planes]))
    square -= mean * mean
    return _Moments(planes, mean, centre, square)


def _similarity(first: _Moments, second: _Moments) -> float:
    covariance = _blur(first.centred * second.centred)
    covariance -= first.mean * second.mean
    x, y = first.mean + first.centre, second.mean + second.centre
    luminance = (2 * x * y + _C1) / (x * x + y * y + _C1)
    structure = (2 * covariance + _C2) / (first.variance + second.variance + _C2)
    return float(np.mean(luminance * structure, dtype=np.float64))


def _blur(maps: np.ndarray) -> np.ndarray:
    """Filter the last two axes with the window, keeping what lies inside: `[..., H, W]` -> `[..., H-10, W-10]`.

    Both passes are products with a banded matrix, one block of 32 columns or rows at a time: a matrix product is the
    fastest convolution that numpy has.
    """
    height, width = maps.shape[-2:]
    across = np.empty((*maps.shape[:-1], width - WINDOW + 1), np.float32)
    for start in range(0, across.shape[-1], _BLOCK):
        stop = min(start + _BLOCK, across.shape[-1])
        across[..., start:stop] = maps[..., start : stop + WINDOW - 1] @ _band(stop - start)
    down = np.empty((*maps.shape[:-2], height - WINDOW + 1, across.shape[-1]), np.float32)
    for start in range(0, down.shape[-2], _BLOCK):
        stop = min(start + _BLOCK, down.shape[-2])
        down[..., start:stop, :] = _band(stop - start).T @ across[..., start : stop + WINDOW - 1, :]
    return down


def _band(outputs: int) -> np.ndarray:
    """Return the matrix `[outputs + 10, outputs]` whose column j holds the window from row j on."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-0.5 * (offsets / SIGMA) ** 2)
    matrix = np.zeros((outputs + WINDOW - 1, outputs), np.float32)
    for column in range(outputs):
        matrix[column : column + WINDOW, column] = weights / weights.sum()
    return matrix
