"""What stands in `trajectory.png`: a path in metres, targets in pixels, or values that are no path."""

import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Text
from rollouts import LAYOUTS, moving_frames, rollout_of

from strands_diffusers import actions
from strands_diffusers.outputs import style
from strands_diffusers.outputs.panels import shown_action
from strands_diffusers.outputs.paths import Path3D
from strands_diffusers.outputs.trajectory import TrajectoryVisualizer, trajectory_figure
from strands_diffusers.results import ActionSpace, Observation, Rollout


def drawn(rollout):
    return trajectory_figure(rollout, shown_action(rollout))


def words(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def points(axes) -> np.ndarray:
    """The steps' dots in data coordinates."""
    return max((c.get_offsets() for c in axes.collections), key=len)


@pytest.mark.parametrize("domain", LAYOUTS)
def test_no_label_is_clipped_in_any_domain(domain):
    figure, _ = drawn(rollout_of(domain))
    figure.canvas.draw()
    width, height = style.size_of(figure)

    for text in figure.findobj(Text):
        box = text.get_window_extent()
        if text.get_text():
            assert box.x0 >= -1, text
            assert box.x1 <= width + 1, text
            assert box.y0 >= -1, text
            assert box.y1 <= height + 1, text


def test_a_bridge_path_is_the_decoded_one_in_metres(bridge):
    figure, unit = drawn(bridge)
    path = actions.paths(bridge.action, bridge.space)["arm"]

    _, top, side = figure.axes
    assert unit == "m"
    np.testing.assert_allclose(points(top), path[:, :2, 3])
    np.testing.assert_allclose(points(side), path[:, [0, 2], 3])
    assert {"path of the arm", "[axes of its first pose, m]", "top view", "side view", "x right, z up"} <= set(
        words(figure)
    )


def test_lengths_are_equal_in_all_views(bridge):
    figure, _ = drawn(bridge)

    scales = []
    for axes in figure.axes:
        box = axes.get_window_extent()
        scales += [box.width / np.ptp(axes.get_xlim()), box.height / np.ptp(axes.get_ylim())]
    np.testing.assert_allclose(scales[:2], scales[0])  # the 3-D view: one scale
    np.testing.assert_allclose(scales[2:], scales[2])  # both flat views: one scale


def test_a_still_arm_stays_where_it_is(bridge):
    still_D = np.where(np.isnan(actions.still_row(bridge.space)), 0, actions.still_row(bridge.space))
    rollout = replace(bridge, action=np.tile(still_D, (1, 16, 1)).astype(np.float32))

    figure, _ = drawn(rollout)

    assert np.abs(points(figure.axes[1])).max() < 1e-6
    assert np.ptp(figure.axes[1].get_ylim()) > 8e-4  # and its rounding is not magnified into a path
    assert "travels 0.000 m, ends 0.000 m from its start, turned by 0°" in words(figure)


def test_a_real_path_matches_its_film(data):
    chunk = json.loads((data / "cosmos3_nano" / "rollout_policy_1_action.json").read_text())
    action_KTD = np.array(chunk, np.float32).reshape(1, 16, 10)
    path = actions.paths(action_KTD, actions.space_of("bridge"))["arm"]

    words_ = Path3D.of_poses("arm", path, None).words

    assert words_ == "travels 0.168 m, ends 0.076 m from its start, turned by 11°"


def test_every_body_of_a_two_handed_robot_has_its_path():
    figure, _ = drawn(rollout_of("agibot"))

    assert [w for w in words(figure) if w.startswith("path of")] == [
        "path of the head", "path of the right arm", "path of the left arm",
    ]  # fmt: skip
    assert len(figure.axes) == 9


def test_the_embedded_models_targets_lie_over_the_first_frame():
    frames_FHWC = moving_frames(17, 96, 96)
    rollout = rollout_of("pusht", pixel_map=True, observation=Observation(frames=frames_FHWC))
    figure, unit = drawn(rollout)

    [axes] = figure.axes
    assert unit == "px"
    np.testing.assert_allclose(points(axes), (rollout.action[0] + 1) * 256, rtol=1e-6)
    box = axes.get_window_extent()
    top, left, side = style.size_of(figure)[1] - round(box.y1), round(box.x0), round(box.width)
    shown_HWC = style.rendered(figure)[top : top + side, left : left + side]
    as_it_is = (shown_HWC == style.scaled(frames_FHWC[0], side, side)).all(axis=2)
    assert as_it_is.mean() > 0.9  # the rest lies under the grid and the path
    assert axes.get_ylim() == (512, 0)


@pytest.mark.parametrize("domain", ["av", "galbot", "pusht"])
def test_without_units_the_first_columns_are_shown_as_values_in_model_space(domain):
    rollout = rollout_of(domain)
    figure, unit = drawn(rollout)

    assert unit == "model space"
    flat = figure.axes[-1] if domain == "pusht" else figure.axes[1]
    np.testing.assert_array_equal(points(flat), rollout.action[0, :, :2])  # not summed up
    assert any("model space" in w for w in words(figure))
    assert not any("[axes of its first pose, m]" in w for w in words(figure))


def test_one_column_is_drawn_against_time():
    rollout = Rollout(mode="policy", action=np.linspace(0, 1, 8, dtype=np.float32).reshape(1, 8, 1))

    figure, _ = drawn(rollout)

    np.testing.assert_allclose(points(figure.axes[0])[:, 1], np.linspace(0, 1, 8), atol=1e-7)


def test_the_observed_path_is_dashed(bridge):
    figure, _ = drawn(replace(bridge, reference_action=(bridge.action * 0.5).astype(np.float32)))
    expected = actions.paths(bridge.action * 0.5, bridge.space)["arm"]

    dashed = [line for line in figure.axes[1].lines if line.is_dashed()]
    np.testing.assert_allclose(dashed[0].get_xydata(), expected[:, :2, 3], atol=1e-7)
    assert "observed" in words(figure)


def test_nothing_is_drawn_without_actions(bridge, tmp_path):
    assert TrajectoryVisualizer().draw(replace(bridge, action=None), tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_statistics_switched_off_leave_model_space(bridge, tmp_path):
    [artifact] = TrajectoryVisualizer().draw(replace(bridge, space=ActionSpace("bridge_orig_lerobot")), tmp_path)

    assert artifact.details["unit"] == "model space"
