"""What stands in `trajectory.png`: a path in metres, targets in pixels, or values that are no path."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rollouts import LAYOUTS, assert_inside, moving_frames, rollout_of

from strands_diffusers import actions
from strands_diffusers.outputs import style
from strands_diffusers.outputs.panels import shown_action
from strands_diffusers.outputs.paths import Path3D
from strands_diffusers.outputs.trajectory import TrajectoryVisualizer, trajectory_canvas
from strands_diffusers.results import ActionSpace, Observation, Rollout


def drawn(rollout):
    return trajectory_canvas(rollout, shown_action(rollout))


def words(canvas) -> list[str]:
    return [text.words for text in canvas.texts]


def points(plot) -> np.ndarray:
    """The steps' dots in values of the plot."""
    dots_P2 = np.concatenate([x.points for x in plot.canvas.shapes if x.mark and x.clip is plot])
    (left, top, right, bottom), (x0, x1), (y0, y1) = plot.box, plot.x_limits, plot.y_limits
    return (dots_P2 - [left, bottom]) / [right - left, top - bottom] * [x1 - x0, y1 - y0] + [x0, y0]


@pytest.mark.parametrize("domain", LAYOUTS)
def test_no_label_is_clipped_in_any_domain(domain):
    canvas, _ = drawn(rollout_of(domain))

    for text in canvas.texts:
        assert_inside(canvas, text)


def test_a_bridge_path_is_the_decoded_one_in_metres(bridge):
    canvas, unit = drawn(bridge)
    path = actions.paths(bridge.action, bridge.space)["arm"]

    _, top, side = canvas.plots
    assert unit == "m"
    np.testing.assert_allclose(points(top), path[:, :2, 3], atol=1e-12)
    np.testing.assert_allclose(points(side), path[:, [0, 2], 3], atol=1e-12)
    assert {"path of the arm", "[axes of its first pose, m]", "top view", "side view", "x right, z up"} <= set(
        words(canvas)
    )


def test_lengths_are_equal_in_all_views(bridge):
    canvas, _ = drawn(bridge)

    scales = []
    for plot in canvas.plots:
        scales += [plot.width / np.ptp(plot.x_limits), plot.height / np.ptp(plot.y_limits)]
    np.testing.assert_allclose(scales[:2], scales[0])  # the 3-D view: one scale
    np.testing.assert_allclose(scales[2:], scales[2])  # both flat views: one scale


def test_a_still_arm_stays_where_it_is(bridge):
    still_D = np.where(np.isnan(actions.still_row(bridge.space)), 0, actions.still_row(bridge.space))
    rollout = replace(bridge, action=np.tile(still_D, (1, 16, 1)).astype(np.float32))

    canvas, _ = drawn(rollout)

    assert np.abs(points(canvas.plots[1])).max() < 1e-6
    assert np.ptp(canvas.plots[1].y_limits) > 8e-4  # and its rounding is not magnified into a path
    assert "travels 0.000 m, ends 0.000 m from its start, turned by 0°" in words(canvas)


def test_a_real_path_matches_its_film(data):
    chunk = json.loads((data / "cosmos3_nano" / "rollout_policy_1_action.json").read_text())
    action_KTD = np.array(chunk, np.float32).reshape(1, 16, 10)
    path = actions.paths(action_KTD, actions.space_of("bridge"))["arm"]

    words_ = Path3D.of_poses("arm", path, None).words

    assert words_ == "travels 0.168 m, ends 0.076 m from its start, turned by 11°"


def test_every_body_of_a_two_handed_robot_has_its_path():
    canvas, _ = drawn(rollout_of("agibot"))

    assert [w for w in words(canvas) if w.startswith("path of")] == [
        "path of the head", "path of the right arm", "path of the left arm",
    ]  # fmt: skip
    assert len(canvas.plots) == 9


def test_the_embedded_models_targets_lie_over_the_first_frame():
    frames_FHWC = moving_frames(17, 96, 96)
    rollout = rollout_of("pusht", pixel_map=True, observation=Observation(frames=frames_FHWC))
    canvas, unit = drawn(rollout)

    [plot] = canvas.plots
    assert unit == "px"
    np.testing.assert_allclose(points(plot), (rollout.action[0] + 1) * 256, rtol=1e-6)
    top, left, side = round(plot.box[1]), round(plot.box[0]), round(plot.width)
    shown_HWC = canvas.pixels()[top : top + side, left : left + side]
    as_it_is = (shown_HWC == style.scaled(frames_FHWC[0], side, side)).all(axis=2)
    assert as_it_is.mean() > 0.9  # the rest lies under the grid and the path
    assert plot.y_limits == (512, 0)


@pytest.mark.parametrize("domain", ["av", "galbot", "pusht"])
def test_without_units_the_first_columns_are_shown_as_values_in_model_space(domain):
    rollout = rollout_of(domain)
    canvas, unit = drawn(rollout)

    assert unit == "model space"
    flat = canvas.plots[-1] if domain == "pusht" else canvas.plots[1]
    np.testing.assert_allclose(points(flat), rollout.action[0, :, :2], atol=1e-7)  # not summed up
    assert any("model space" in w for w in words(canvas))
    assert not any("[axes of its first pose, m]" in w for w in words(canvas))


def test_one_column_is_drawn_against_time():
    rollout = Rollout(mode="policy", action=np.linspace(0, 1, 8, dtype=np.float32).reshape(1, 8, 1))

    canvas, _ = drawn(rollout)

    np.testing.assert_allclose(points(canvas.plots[0])[:, 1], np.linspace(0, 1, 8), atol=1e-7)


def test_the_observed_path_is_dashed(bridge):
    canvas, _ = drawn(replace(bridge, reference_action=(bridge.action * 0.5).astype(np.float32)))
    expected = actions.paths(bridge.action * 0.5, bridge.space)["arm"]

    top_view = canvas.plots[1]
    [dashed] = [x for x in canvas.shapes if x.dashes and x.clip is top_view]
    np.testing.assert_allclose(dashed.points, top_view.px(expected[:, 0, 3], expected[:, 1, 3]), atol=1e-3)
    assert "observed" in words(canvas)


def test_nothing_is_drawn_without_actions(bridge, tmp_path):
    assert TrajectoryVisualizer().draw(replace(bridge, action=None), tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_statistics_switched_off_leave_model_space(bridge, tmp_path):
    [artifact] = TrajectoryVisualizer().draw(replace(bridge, space=ActionSpace("bridge_orig_lerobot")), tmp_path)

    assert artifact.details["unit"] == "model space"
