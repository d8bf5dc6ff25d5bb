"""Where the T lies in a decoded picture that shows it bent: the rigid T that covers it best.

Poses are [..., 3] = x, y of the block's centre of mass [simulator pixels] and its angle [rad], as in the simulator's state.
"""

from __future__ import annotations

import numpy as np
import torch
from strands_diffusers_pusht.simulator import FRAME_PX, TABLE_PX, PushT

from .shape import overlap, silhouette

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


def fit(
    video: torch.Tensor, begin: torch.Tensor, bars: torch.Tensor, steps: int = 16
) -> tuple[torch.Tensor, torch.Tensor]:
    """The rigid T in each frame, searched by gradient from a pose near by.

    What the pusher hides counts neither way. Where the picture leaves it open, the pose stays near where it began.

    Args:
        video: [N, 3, 96, 96] in [-1, 1], decoded.
        begin: True poses [N, 3].
        bars: See `rectangles`.
        steps: Of Adam.

    Returns:
        Poses [N, 3], and how well each lies on the silhouette: intersection over union [N], about 0.85 of a true frame.
    """
    px = TABLE_PX / FRAME_PX
    corner = (begin[:, :2] / px - CROP_PX / 2).round().long().clamp(0, FRAME_PX - CROP_PX)
    rows = corner[:, 1, None] + torch.arange(CROP_PX)
    columns = corner[:, 0, None] + torch.arange(CROP_PX)
    which = torch.arange(len(video))[:, None, None]
    seen = silhouette(video[:, :, None])[:, 0][which, rows[:, :, None], columns[:, None, :]].flatten(1)
    hidden = ((video[:, 2] - video[:, 0]) * 127.5 > 70)[which, rows[:, :, None], columns[:, None, :]].flatten(1)
    x = ((columns + 0.5) * px)[:, None, :].expand(-1, CROP_PX, -1)
    y = ((rows + 0.5) * px)[:, :, None].expand(-1, -1, CROP_PX)
    places = torch.stack([x, y], -1).flatten(1, 2)
    unit = torch.tensor([STEP_PX, STEP_PX, STEP_RAD])
    moved = torch.zeros_like(begin, requires_grad=True)
    adam = torch.optim.Adam([moved], lr=0.4)
    for step in range(steps):
        adam.param_groups[0]["lr"] = 0.4 * (1 - step / steps)
        drawn = covered(begin + moved * unit, bars, places)
        gap = ((drawn - seen).abs() * ~hidden).sum(1) / drawn.detach().sum(1)
        loss = (gap + 0.01 * moved.square().sum(1)).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        pose = begin + moved * unit
        drawn = covered(pose, bars, places)
        shape = (-1, 1, CROP_PX, CROP_PX)
        score = overlap((drawn * ~hidden).view(shape), (seen * ~hidden).view(shape))
    return pose, score
