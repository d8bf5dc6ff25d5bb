"""The pose of a T is read off a picture."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gym_pusht")

from strands_diffusers_pusht.simulator import PushT

from .pose import fit, rectangles


def test_the_pose_of_a_t_is_found_from_near_by_and_behind_the_pusher() -> None:
    sim, frames = PushT(), []
    true = np.array([[200.0, 210.0, 0.3], [300.0, 150.0, 2.0], [120.0, 330.0, -2.5]])
    for pose in true:
        sim.state = np.array([*(pose[:2] + 20), *pose])
        frames.append(sim.render())

    found, score = fit(np.stack(frames), true + np.array([6.0, -5.0, 0.1]), rectangles(sim), steps=40)

    away = np.abs(found - true)
    assert away[:, :2].max() < 2
    assert away[:, 2].max() < 0.04
    assert score.min() > 0.5


def test_where_there_is_no_t_the_pose_stays_near_and_covers_nothing() -> None:
    begin = np.array([[200.0, 210.0, 0.3]])

    found, score = fit(np.full((1, 96, 96, 3), 255, np.uint8), begin, rectangles(PushT()))

    assert score < 0.05
    np.testing.assert_allclose(found[:, :2], begin[:, :2], atol=12)
