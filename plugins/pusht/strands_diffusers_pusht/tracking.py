"""Reads the pusher and the block off a frame by their colours, so that a video can be judged by what moves in it.

Frames: uint8 [..., H, W, 3]. Positions: simulator pixels of the 512 x 512 table.
"""

from __future__ import annotations

import numpy as np

from .simulator import TABLE_PX

BLOCK_RGB = np.array([119, 136, 153])  # LightSlateGray
_PUSHER_MIN_PIXELS = 6  # a quarter of the disc as drawn at 96 x 96


def pusher_mask(frames: np.ndarray) -> np.ndarray:
    """Pixels of the royal-blue pusher: bool [..., H, W]."""
    rgb = frames.astype(np.int16)
    return np.asarray((rgb[..., 2] - rgb[..., 0] > 70) & (rgb[..., 2] > 150))


def block_mask(frames: np.ndarray) -> np.ndarray:
    """Pixels of the slate-grey block: bool [..., H, W]."""
    rgb = frames.astype(np.int16)
    near = np.asarray((np.abs(rgb - BLOCK_RGB) < 45).all(-1))
    return near & np.asarray(rgb[..., 2] - rgb[..., 0] < 75)


def centroids(masks: np.ndarray, min_pixels: int = 1) -> np.ndarray:
    """Mean position of each mask: float64 [..., 2] = x, y; nan where it has fewer than `min_pixels`."""
    height, width = masks.shape[-2:]
    count = masks.sum((-2, -1)).astype(float)
    x = (masks.sum(-2) * (np.arange(width) + 0.5)).sum(-1) * (TABLE_PX / width)
    y = (masks.sum(-1) * (np.arange(height) + 0.5)).sum(-1) * (TABLE_PX / height)
    count = np.where(count >= max(1, min_pixels), count, np.nan)
    return np.stack([x, y], -1) / count[..., None]


def pusher_px(frames: np.ndarray) -> np.ndarray:
    """Centre of the pusher, [..., 2]; nan where none is visible."""
    return centroids(pusher_mask(frames), _PUSHER_MIN_PIXELS)


def block_px(frames: np.ndarray) -> np.ndarray:
    """Centre of the visible part of the block, [..., 2]; nan where none is visible."""
    return centroids(block_mask(frames), 1)


def overlap(mask: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Intersection over union of masks [..., H, W]: 1 where they are the same, 0 where they share no pixel."""
    union = (mask | truth).sum((-2, -1))
    return np.asarray((mask & truth).sum((-2, -1)) / np.maximum(union, 1))
