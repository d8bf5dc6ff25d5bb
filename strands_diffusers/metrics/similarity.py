"""PSNR and SSIM of uint8 frames, numpy only.

Array suffixes: F frames, H height, W width, C channels. Frames of one clip are paired with those of another by index.
"""

import numpy as np

WINDOW, SIGMA = 11, 1.5
"""Side and standard deviation of the Gaussian window of Wang et al. 2004 [pixels]."""

_PEAK = 255.0
_C1, _C2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
_BLOCK = 64


def squared_error(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the squared differences of two uint8 arrays, int32 of the same shape."""
    difference = first.astype(np.int32) - second
    return np.asarray(difference * difference)


def psnr(total_squared_error: float, count: int) -> float:
    """Return the PSNR [dB] of `count` 8-bit values whose squared errors add up to `total_squared_error`.

    Identical values count as one that is off by one level, the least error that there can be: the score of a perfect
    copy is then finite (119.8 dB for 16 frames of 480x640) and still above every other.
    """
    return float(10.0 * np.log10(_PEAK**2 * count / max(total_squared_error, 1.0)))


def ssim(first_FHWC: np.ndarray, second_FHWC: np.ndarray) -> float:
    """Return the structural similarity of two clips, -1 to 1: the mean over frames, channels and window positions.

    Gaussian window of 11x11 pixels and 1.5 standard deviation, K1 = 0.01, K2 = 0.03, peak 255, population covariance,
    only windows that lie inside the frame: what scikit-image computes with `gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=255, channel_axis=-1`, to 6 digits.

    Shapes: uint8 `[F, H, W, C]` twice, H and W at least 11.
    Source: Wang, Bovik, Sheikh, Simoncelli 2004, "Image quality assessment: from error visibility to structural
        similarity".
    """
    scores = [_ssim_frame(a, b) for a, b in zip(first_FHWC, second_FHWC, strict=True)]
    return float(np.mean(scores))


def _ssim_frame(first_HWC: np.ndarray, second_HWC: np.ndarray) -> float:
    x = np.moveaxis(first_HWC, -1, 0).astype(np.float32, order="C")
    y = np.moveaxis(second_HWC, -1, 0).astype(np.float32, order="C")
    # Variances are differences of squares: centred values keep their float32 digits.
    centre = 0.5 * (x.mean(axis=(1, 2), keepdims=True) + y.mean(axis=(1, 2), keepdims=True))
    x -= centre
    y -= centre
    mean_x, mean_y, squares, product = _blur(np.stack([x, y, x * x + y * y, x * y]))
    product -= mean_x * mean_y
    squares -= mean_x * mean_x
    squares -= mean_y * mean_y
    mean_x += centre
    mean_y += centre
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x * mean_x + mean_y * mean_y + _C1)
    structure = (2 * product + _C2) / (squares + _C2)
    return float(np.mean(luminance * structure, dtype=np.float64))


def _blur(maps: np.ndarray) -> np.ndarray:
    """Filter the last two axes with the window, keeping what lies inside: `[..., H, W]` -> `[..., H-10, W-10]`.

    Both passes are products with a banded matrix, one block of 64 columns or rows at a time: a matrix product is the
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
