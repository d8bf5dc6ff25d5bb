"""The shape loss wants a sharp T where the true one is, and tells the latents how."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("gym_pusht")

from strands_diffusers_pusht import tracking
from strands_diffusers_pusht.simulator import PushT

import strands_diffusers

from . import vae
from .shape import CROP, corners, crop, overlap, silhouette

MODEL = str(Path(strands_diffusers.__file__).parent / "assets" / "cosmos3_pusht")


def frames_of(places: list[tuple[float, float, float]]) -> np.ndarray:
    sim, frames = PushT(), []
    for x, y, angle in places:
        sim.state = np.array([30.0, 480.0, x, y, angle])
        frames.append(sim.render())
    return np.stack(frames)


def test_the_silhouette_is_what_the_tracker_sees() -> None:
    frames = frames_of([(200, 200, 0.3), (300, 150, 2.0)])
    soft = silhouette(vae.to_clip(frames[:, None]))[:, 0]
    assert ((soft > 0.5).numpy() == tracking.block_mask(frames)).mean() > 0.99


def test_a_sharp_t_a_little_off_is_better_than_the_mean_of_several() -> None:
    video = vae.to_clip(
        frames_of([(250 + dx, 250, 0.5 + da) for dx, da in ((0, 0), (8, 0.1), (-24, -0.5), (24, 0.5))])[:, None]
    )
    true, near, *far = (silhouette(x[None]) for x in video)
    blur = silhouette(video[1:].mean(0, keepdim=True))
    assert overlap(true, true) == 1
    assert overlap(near, true) > overlap(blur, true) + 0.2
    assert max(float(overlap(x, true)) for x in far) < overlap(near, true)


def test_the_crop_holds_the_block_and_the_gradient_mends_the_latents() -> None:
    model = vae.build(MODEL).requires_grad_(False)
    clips = vae.to_clip(np.repeat(frames_of([(200, 260, 0.3), (220, 260, 0.5), (70, 70, 0.0)])[:, None], 5, 1))
    with torch.no_grad():
        true, off, _ = latents = vae.encode(model, clips)[0]
    corner = corners(latents, latents.mean(0))
    assert (abs(corner[2].float() - 0.5) <= 1).all()  # (70, 70) of 512 is in the first of six rows and columns
    where = corner[:1]
    truth = silhouette(vae.decode(model, crop(true[None], where)))
    assert truth.shape[-1] == 16 * CROP
    moved, before = off[None].clone(), 0.0
    for _ in range(8):
        moved.requires_grad_(True)
        loss = 1 - overlap(silhouette(vae.decode(model, crop(moved, where))), truth).mean()
        before = before or float(loss.detach())
        (gradient,) = torch.autograd.grad(loss, moved)
        moved = (moved - 0.3 * gradient / gradient.norm() * 2).detach()
    assert float(loss.detach()) < 0.7 * before
