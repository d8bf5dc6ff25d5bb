"""What stands in `timeseries.png`: every dimension by name, in its unit, and nothing that is not so."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from PIL import Image
from rollouts import DOMAINS, LAYOUTS, assert_inside, overlapping, rollout_of

from strands_diffusers import actions, domains
from strands_diffusers.errors import OutputError
from strands_diffusers.outputs import style
from strands_diffusers.outputs.canvas import Shape
from strands_diffusers.outputs.panels import panel_rows
from strands_diffusers.outputs.text import printable
from strands_diffusers.outputs.timeseries import TimeseriesVisualizer, timeseries_canvas
from strands_diffusers.results import ActionSpace, Observation, Rollout


def words(canvas) -> list[str]:
    return [text.words for text in canvas.texts]


def curves(canvas, colour: str) -> list[Shape]:
    """The drawn-out curves of one colour: neither references (dashed), bars (two points), areas nor marks."""
    lines = (x for x in canvas.shapes if x.colour == colour and not x.face and not x.mark)
    return [x for x in lines if not x.dashes and len(x.points) > 2]


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_dimension_of_every_domain_is_named(domain):
    panels = [panel for row in panel_rows(rollout_of(domain)) for panel in row]
    named = [(panel.title, curve.label) for panel in panels for curve in panel.curves]

    assert len(named) == len(set(named)) == domains.get(domain).width


@pytest.mark.parametrize("domain", LAYOUTS)
def test_every_dimension_is_drawn_once(domain):
    rollout = rollout_of(domain)
    panels = [panel for row in panel_rows(rollout) for panel in row]
    named = [(panel.title, curve.label) for panel in panels for curve in panel.curves]

    assert len(named) == len(set(named)) == domains.get(domain).width
    drawn = sum(
        len(curves(timeseries_canvas(rollout), colour)) for colour in {c.colour for p in panels for c in p.curves}
    )
    assert drawn == domains.get(domain).width


@pytest.mark.parametrize(("domain", "chunks"), [*((layout, 1) for layout in LAYOUTS), ("bridge", 3), ("agibot", 3)])
def test_no_label_is_clipped_and_none_covers_another(domain, chunks):
    canvas = timeseries_canvas(rollout_of(domain, chunks=chunks, prompt="Put it there. " * 30))

    for text in canvas.texts:
        assert_inside(canvas, text)
    for first, second in combinations(canvas.texts, 2):
        assert not overlapping(first, second), (first.words, second.words)


def test_bridge_names_its_columns_groups_and_units(bridge):
    said = words(timeseries_canvas(bridge))

    for name in ("x", "y", "z", "r11", "r21", "r31", "r12", "r22", "r32"):
        assert said.count(name) == 1, name
    assert [w for w in said if w.startswith("arm")] == ["arm translation", "arm rotation", "arm gripper"]
    assert {" m/step", " model space", " 1 open, 0 closed"} <= set(said)
    assert "Policy: “Put the pot to the left of the purple item.”" in said
    assert "bridge · 16 steps at 5 Hz (3.2 s) · seed 0" in " ".join(said).replace("  ", " ")


def test_the_curves_are_the_decoded_values(bridge):
    physical_SD = actions.to_physical(bridge.action, bridge.space)[0]

    [x, *_] = curves(timeseries_canvas(bridge), style.X_COLOUR)
    [gripper] = curves(timeseries_canvas(bridge), style.GRIPPER_COLOUR)
    np.testing.assert_array_equal(x.points, x.clip.px(np.arange(16) + 0.5, physical_SD[:, 0]))
    np.testing.assert_array_equal(gripper.points, gripper.clip.px(np.arange(16) + 0.5, physical_SD[:, 9]))
    assert gripper.width > x.width


@pytest.mark.parametrize(
    ("polarity", "said"), [("closed_is_1", " 0 open, 1 closed"), ("closed_is_minus_1", " 1 open, −1 closed")]
)
def test_the_grippers_polarity_is_said(bridge, polarity, said):
    rollout = replace(bridge, space=replace(bridge.space, gripper=polarity))

    assert said in words(timeseries_canvas(rollout))
    assert any(panel.unit == "m, opening" for row in panel_rows(rollout_of("umi")) for panel in row)


def test_a_domain_without_statistics_says_model_space_and_shows_the_band():
    canvas = timeseries_canvas(rollout_of("av", steps=60))

    assert [w for w in words(canvas) if w in (" m/step", " model space")] == [" model space"] * 2
    for plot in canvas.plots:
        [band] = [x for x in canvas.shapes if x.face == style.PAPER and x.clip is plot]
        np.testing.assert_array_equal(band.points, plot.px([0, 60, 60, 0], [-1, -1, 1, 1]))
        assert plot.y_limits[0] < -1 < 1 < plot.y_limits[1]


def test_values_beyond_one_are_counted_and_ringed(bridge):
    action_KTD = np.zeros((1, 16, 10), np.float32)
    action_KTD[0, [2, 5, 9], [0, 4, 9]] = [1.01, -1.2, 3.0]
    action_KTD[0, 0, 0] = 1.0  # not beyond
    canvas = timeseries_canvas(replace(bridge, action=action_KTD))

    assert any("3 of 160 values (1.9 %) beyond ±1" in w for w in words(canvas))
    rings = [x for x in canvas.shapes if x.colour == style.WARNING_COLOUR and x.z == 3]
    steps = (canvas.plots[0].px(step + 0.5, 0)[0] for step in (2, 5, 9))
    assert sorted(float(x.points[0, 0]) for x in rings) == list(steps)
    assert any("no value beyond ±1" in w for w in words(timeseries_canvas(replace(bridge, action=action_KTD * 0))))


def test_chunks_are_told_apart():
    canvas = timeseries_canvas(rollout_of("bridge", chunks=3))

    assert [w for w in words(canvas) if w.startswith("chunk ")] == ["chunk 1", "chunk 2", "chunk 3"]
    assert any("3 chunks of 16 steps" in w for w in words(canvas))
    for plot in canvas.plots:
        borders = [x.points[0, 0] for x in canvas.shapes if x.dashes == (2, 2) and x.clip is plot]
        np.testing.assert_array_equal(borders, plot.px([16, 32], 0)[:, 0])


def test_the_reference_is_dashed_and_only_there_when_there_is_one(bridge):
    reference_KTD = (bridge.action * 0.5).astype(np.float32)
    with_it = timeseries_canvas(replace(bridge, reference_action=reference_KTD))
    without = timeseries_canvas(bridge)

    def dashed(canvas):
        return [x for x in canvas.shapes if x.dashes and x.clip]

    assert len(dashed(with_it)) == 10
    assert dashed(without) == []
    assert "observed" in words(with_it)
    assert "observed" not in words(without)
    expected = actions.to_physical(reference_KTD, bridge.space)[0, :, 0]
    first = dashed(with_it)[0]
    np.testing.assert_array_equal(first.points, first.clip.px(np.arange(16) + 0.5, expected))


def test_forward_dynamics_shows_the_given_actions_and_no_reference(bridge):
    rollout = replace(
        bridge, mode="forward_dynamics", action=None, given_action=bridge.action, reference_action=bridge.action
    )
    canvas = timeseries_canvas(rollout)

    assert any("given actions, 16 steps" in w for w in words(canvas))
    assert "observed" not in words(canvas)


def test_a_chunk_of_no_known_domain_is_drawn_with_numbered_columns():
    rollout = Rollout(mode="policy", action=np.zeros((1, 4, 3), np.float32))

    assert {"action_0 to action_2", "0", "1", "2", " model space"} <= set(words(timeseries_canvas(rollout)))


def test_pixels_are_pixels():
    [[panel]] = panel_rows(rollout_of("pusht", pixel_map=True))

    assert (panel.title, panel.unit, [c.label for c in panel.curves]) == ("target position", "px", ["x", "y"])
    assert panel.nominal == (0, 512)


def test_the_picture_is_a_png_of_the_size_it_says(bridge, tmp_path):
    [artifact] = TimeseriesVisualizer().draw(bridge, tmp_path)

    assert artifact.path == tmp_path / "timeseries.png"
    with Image.open(artifact.path) as picture:
        assert artifact.details["shape"] == [picture.height, picture.width, 3]
        np.testing.assert_array_equal(np.asarray(picture), timeseries_canvas(bridge).pixels())


def test_a_rollout_without_actions_has_no_picture(bridge, tmp_path):
    assert TimeseriesVisualizer().draw(replace(bridge, action=None), tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_nan_and_wrong_widths_are_refused_and_nothing_is_drawn(bridge, tmp_path):
    broken_KTD = bridge.action.copy()
    broken_KTD[0, 0, 0] = np.nan
    with pytest.raises(OutputError, match="NaN or inf in 1 of 160"):
        TimeseriesVisualizer().draw(replace(bridge, action=broken_KTD), tmp_path)
    narrow = replace(bridge, action=None, given_action=broken_KTD[..., :9])
    with pytest.raises(OutputError, match=r"given_action has shape \(1, 16, 9\)"):
        TimeseriesVisualizer().draw(narrow, tmp_path)
    with pytest.raises(OutputError, match="reference_action has shape"):
        TimeseriesVisualizer().draw(replace(bridge, reference_action=bridge.action[:, :8]), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_enormous_and_tiny_values_are_drawn(bridge, tmp_path, scale):
    rollout = replace(bridge, action=(bridge.action * np.float32(scale)), space=ActionSpace("bridge_orig_lerobot"))

    assert TimeseriesVisualizer().draw(rollout, tmp_path)


@pytest.mark.parametrize("prompt", ["costs $5 and $6", "二つ目の\n鍋 🤖", "a_b^{c} \\frac", " ", "<b>&amp;"])
def test_any_prompt_is_written_as_it_is_without_a_warning(bridge, prompt):
    rollout = replace(bridge, prompt=prompt, observation=Observation())
    canvas = timeseries_canvas(rollout)

    canvas.pixels()  # warnings are errors here
    [title] = [w for w in words(canvas) if w.startswith("Policy")]
    expected = " ".join(prompt.split())
    assert title == (f"Policy: “{printable(expected)}”" if expected else "Policy")
