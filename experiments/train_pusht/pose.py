"""Where the T lies in a decoded picture that shows it bent: the rigid T that covers it best.

Poses are [..., 3] = x, y of the block's centre of mass [simulator pixels] and its angle [rad], as in the simulator's state.
"""

from __future__ import annotations

import numpy as np
import torch
from strands_diffusers_pusht import tracking
from strands_diffusers_pusht.simulator import FRAME_PX, TABLE_PX, PushT

from .shape import overlap, silhouette
from .vae import to_clip

STEP_PX, STEP_RAD = 6.0, 0.1
"""What counts as one, of places and of angles: about how far the model errs."""

EDGE_PX = 3.0
"""Softness of the drawn T's edge [simulator pixels]: half a picture's pixel."""

CROP_PX = 44
"""Side of the part of a picture that is looked at [picture's pixels], about the place to begin from."""


def rectangles(simulator: PushT) -> torch.Tensor:
    """The T's two bars in its own axes, from its centre of mass [simulator pixels]: [2, 2, 2], the corners of each."""
    middle = TABLE_PX / 2
    simulator.state = np.array([20.0, 20.0, middle, middle, 0.0])
    bars = simulator.corners_px.reshape(2, 4, 2) - middle
    return torch.from_numpy(np.stack([bars.min(1), bars.max(1)], 1)).float()


def covered(pose: torch.Tensor, bars: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """How surely each of `places` [N, P, 2] is on the T at `pose` [N, 3]: [N, P], 0 to 1."""
    away = places - pose[:, None, :2]
    cos, sin = torch.cos(pose[:, None, 2]), torch.sin(pose[:, None, 2])
    own = torch.stack([cos * away[..., 0] + sin * away[..., 1], cos * away[..., 1] - sin * away[..., 0]], -1)
    outside = torch.stack([torch.maximum(low - own, own - high).amax(-1) for low, high in bars]).amin(0)
    return torch.sigmoid(-outside / EDGE_PX)


def fit(frames: np.ndarray, begin: np.ndarray, bars: torch.Tensor, steps: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """The rigid T in each frame, searched by gradient from a pose near by.

    What the pusher hides counts neither way. Where the picture leaves it open, the pose stays near where it began.

    Args:
        frames: uint8 [N, 96, 96, 3], as decoded.
        begin: Poses [N, 3] near by, to search from.
        bars: See `rectangles`.
        steps: Of Adam.

    Returns:
        Poses [N, 3], and how well each lies on the silhouette: intersection over union [N] of soft masks, about 0.65 of a true frame.
    """
    px, start = TABLE_PX / FRAME_PX, torch.from_numpy(begin).float()
    corner = (start[:, :2] / px - CROP_PX / 2).round().long().clamp(0, FRAME_PX - CROP_PX)
    rows = corner[:, 1, None] + torch.arange(CROP_PX)
    columns = corner[:, 0, None] + torch.arange(CROP_PX)
    which = torch.arange(len(frames))[:, None, None], rows[:, :, None], columns[:, None, :]
    seen = silhouette(to_clip(frames[:, None]))[:, 0][which].flatten(1)
    hidden = torch.from_numpy(tracking.pusher_mask(frames))[which].flatten(1)
    x = ((columns + 0.5) * px)[:, None, :].expand(-1, CROP_PX, -1)
    y = ((rows + 0.5) * px)[:, :, None].expand(-1, -1, CROP_PX)
    places = torch.stack([x, y], -1).flatten(1, 2)
    unit = torch.tensor([STEP_PX, STEP_PX, STEP_RAD])
    moved = torch.zeros_like(start, requires_grad=True)
    adam = torch.optim.Adam([moved], lr=0.4)
    for step in range(steps):
        adam.param_groups[0]["lr"] = 0.4 * (1 - step / steps)
        drawn = covered(start + moved * unit, bars, places)
        gap = ((drawn - seen).abs() * ~hidden).sum(1) / drawn.detach().sum(1)
        loss = (gap + 0.01 * moved.square().sum(1)).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        pose = start + moved * unit
        drawn = covered(pose, bars, places)
        shape = (-1, 1, CROP_PX, CROP_PX)
        score = overlap((drawn * ~hidden).view(shape), (seen * ~hidden).view(shape))
    return pose.double().numpy(), score.numpy()
