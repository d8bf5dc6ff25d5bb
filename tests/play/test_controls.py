"""What a person does becomes action rows: pixels, metres and degrees come out as they went in; nothing is guessed."""

import math

import numpy as np
import pytest

from strands_diffusers import actions, domains
from strands_diffusers.errors import ActionError
from strands_diffusers.play.controls import Controls

PUSHT = actions.space_of("pusht", pixel_map=True)


def pixels(rows):
    return actions.to_physical(rows, PUSHT)


def test_a_target_goes_straight_to_the_point_no_faster_than_said_and_stays_there():
    held = actions.to_model([100.0, 200.0], PUSHT)

    rows = Controls(PUSHT).rows({"point": [190, 320], "speed": 60}, held, 4)

    assert rows.dtype == np.float32
    np.testing.assert_allclose(pixels(rows), [[136, 248], [172, 296], [190, 320], [190, 320]], atol=1e-3)


def test_without_a_point_the_target_is_held_and_where_nothing_is_held_the_first_point_is_the_target():
    controls, held = Controls(PUSHT), np.array([0.25, -0.5], np.float32)

    np.testing.assert_array_equal(controls.rows({}, held, 4), np.tile(held, (4, 1)))
    np.testing.assert_allclose(pixels(controls.rows({"point": [80, 90]}, None, 2)), [[80, 90], [80, 90]], atol=1e-3)
    with pytest.raises(ActionError, match="Point at the picture first"):
        controls.rows({}, None, 4)


@pytest.mark.parametrize("name", [d.short for d in domains.all_domains() if d.poses and d.statistics])
def test_metres_and_degrees_come_out_as_they_went_in(name):
    space = actions.space_of(name)
    controls = Controls(space)
    described = controls.described(None)
    body = next(each for each in described["bodies"] if each["move"][1] and each["turn"][0])
    values = {each["name"]: each["at"] for each in described["values"]}
    move, turn = [0, body["move"][1], 0], [body["turn"][0], 0, 0]

    rows = controls.rows({"bodies": {body["name"]: {"move": move, "turn": turn}}, "values": values}, None, 1)

    paths = actions.paths(rows, space)
    np.testing.assert_allclose(paths[body["name"]][1][:3, 3], move, atol=1e-6)
    turned = paths[body["name"]][1][:3, :3]
    assert math.degrees(float(actions.geodesic(np.eye(3), turned))) == pytest.approx(turn[0], abs=1e-3)
    assert turned[2, 1] > 0  # about x, from y to z
    for other in paths.keys() - {body["name"]}:
        np.testing.assert_allclose(paths[other][1], np.eye(4), atol=1e-6)
    decoded = actions.to_physical(rows[0], space)
    for i, column in enumerate(domains.get(name).columns):
        if column.name in values:
            assert decoded[i] == pytest.approx(values[column.name], abs=1e-6)


def test_axes_along_which_the_training_data_stand_still_have_no_control():
    head = Controls(actions.space_of("agibot")).described(None)["bodies"][0]

    assert head["name"] == "head"
    assert head["move"][0] == 0.0
    assert head["turn"][1:] == [0.0, 0.0]


def test_grippers_are_held_as_they_were_set():
    controls = Controls(space := actions.space_of("bridge"))
    before = controls.rows({"values": {"gripper": 0.25}}, None, 1)[-1]

    after = controls.rows({"bodies": {"arm": {"move": [0.01, 0, 0]}}}, before, 2)

    np.testing.assert_allclose(actions.to_physical(after, space)[:, -1], [0.25, 0.25], atol=1e-6)
    with pytest.raises(ActionError, match=r"gripper was not set, and nothing says what to hold"):
        controls.rows({}, None, 1)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("pusht", {"point": [1, float("nan")]}, "not finite"),
        ("pusht", {"point": [1]}, "must be 2 numbers"),
        ("pusht", {"point": "left"}, "must be 2 numbers"),
        ("pusht", {"point": [True, 2]}, "must be 2 numbers"),
        ("pusht", {"point": [1, 2], "speed": None}, "must be 1 numbers"),
        ("bridge", {"bodies": [1]}, "bodies is list"),
        ("bridge", {"bodies": {"arm": {"turn": [0, 1e9, 0]}}}, "beyond any world"),
        ("bridge", {"values": {"thumb": 1}}, "'thumb' is no control of domain bridge"),
    ],
)
def test_what_is_no_input_is_refused_in_one_line(name, given, message):
    space = PUSHT if name == "pusht" else actions.space_of(name)
    with pytest.raises(ActionError, match=message):
        Controls(space).rows(given, np.zeros(domains.get(name).width, np.float32), 4)
