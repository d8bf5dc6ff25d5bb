"""The simulator does what its state and actions say, the expert its task; frames can be read back; the source answers."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gym_pusht")

import strands_diffusers_pusht
from strands_diffusers_pusht import tracking
from strands_diffusers_pusht.expert import GOAL_PX, MOTIONS, TASKS, Expert, play, progress_px
from strands_diffusers_pusht.simulator import PushT, to_model_space, to_pixels
from strands_diffusers_pusht.source import WORDS, PushTSource

from strands_diffusers import ObservationRequest, errors, testing
from strands_diffusers.cli import main
from strands_diffusers.config.fields import Scene
from strands_diffusers.observations import scenes

pytestmark = pytest.mark.filterwarnings("ignore")  # pygame's and gymnasium's own


@pytest.fixture(scope="module")
def table():
    return PushT()


def test_a_seed_is_always_the_same_table(table):
    first = table.start(500_001)
    table.start(500_002)

    np.testing.assert_array_equal(table.start(500_001), first)


def test_a_state_that_is_set_is_the_state_and_the_picture(table):
    table.start(7)
    state, frame = table.state, table.render()
    table.run(np.full((5, 2), 250.0))

    table.state = state

    np.testing.assert_allclose(table.state, state)
    np.testing.assert_array_equal(table.render(), frame)


def test_a_state_that_is_set_knows_nothing_of_contacts_before_it(table):
    begin, frame = table.start(3).copy(), table.render()
    to_the_block = np.repeat(table.block_px[None], 12, 0)
    once = table.run(to_the_block)
    table.state = begin
    np.testing.assert_array_equal(table.render(), frame)
    for first, again in zip(once, table.run(to_the_block), strict=True):
        np.testing.assert_array_equal(again, first)


def test_running_the_same_actions_twice_gives_the_same_frames(table):
    state = table.start(11)
    frames, actions, _ = play(table, "poke", 11, 16)
    table.state = state

    again, _ = table.run(actions)

    np.testing.assert_array_equal(again, frames)


def test_a_block_is_at_a_wall_where_it_touches_one(table):
    for x, at_wall in ((256, False), (80, False), (45, True), (467, True), (400, False)):
        table.state = np.array([256, 480, x, 256, 0])
        assert table.block_at_wall is at_wall, (x, table.corners_px)


def test_walls_hold_the_block_and_stop_the_pusher_at_it(table):
    """gym-pusht's own pusher drives the block through the wall, and itself into the block: seed 629 among others."""
    open_table, beyond_px, clearances_px, pressed = PushT(solid_walls=False), [], ([], []), 0
    for seed, task in [(629, "down"), (630, "left"), (631, "right"), (632, "up"), (645, "right")]:
        for sim in (table, open_table):
            sim.start(seed)
            expert, worst_px = Expert(task, sim, seed), 0.0
            for _ in range(60):
                sim.step(expert.act())
                worst_px = max(worst_px, 7 - sim.corners_px.min(), sim.corners_px.max() - 504)
                pressed += sim is table and sim.block_at_wall and sim.clearance_px(sim.pusher_px) < 16
                clearances_px[sim is open_table].append(sim.clearance_px(sim.pusher_px))
            beyond_px.append(worst_px)

    assert max(beyond_px[::2]) <= 1.01
    assert max(beyond_px[1::2]) > 10
    assert min(clearances_px[0]) > 12  # the pusher's radius is 15
    assert min(clearances_px[1]) < 0
    assert pressed > 50


def test_away_from_walls_solid_walls_change_nothing(table):
    open_table = PushT(solid_walls=False)
    states = []
    for sim in (table, open_table):
        sim.start(634)
        _, _, found = play(sim, "goal", 634, 60)
        states.append(found)

    assert np.ptp(states[0][:, 2:4], axis=0).max() > 20
    np.testing.assert_array_equal(*states)


@pytest.mark.parametrize("task", TASKS)
def test_the_expert_moves_the_block_as_the_task_says(table, task):
    moves = []
    for seed in range(500_000, 500_016):
        table.start(seed)
        _, _, states = play(table, task, seed, 30)
        moves.append(progress_px(states, task))

    assert np.mean(moves) > 25
    assert np.median(moves) > 25


def test_the_expert_goes_round_the_block_without_touching_it(table):
    touched, steps = 0, 0
    for seed in range(500_000, 500_016):
        for task in TASKS[:4]:
            first = table.start(seed)
            expert = Expert(task, table, seed)
            for _ in range(24):
                action = expert.act()
                if expert.pushing:
                    break
                steps += 1
                if np.linalg.norm(table.step(action)[2:4] - first[2:4]) > 1:
                    touched += 1
                    break

    assert steps > 200
    assert touched <= 2  # between block and wall there may be no room


def test_the_expert_lets_go_where_the_block_is_at_its_goal(table):
    left_px = []
    for seed in range(500_000, 500_010):
        table.start(seed)
        play(table, "goal", seed, 96)
        left_px.append(float(np.linalg.norm(GOAL_PX - table.block_px)))

    assert np.median(left_px) < 15


def test_pusher_and_block_are_read_off_a_frame(table):
    for seed in range(5):
        state = table.start(seed)
        frame = table.render()

        assert np.linalg.norm(tracking.pusher_px(frame) - state[:2]) < 3
        assert np.linalg.norm(tracking.block_px(frame) - state[2:4]) < 8


def test_where_nothing_is_seen_positions_are_nan():
    assert np.isnan(tracking.pusher_px(np.zeros((2, 96, 96, 3), np.uint8))).all()


def test_the_embedded_model_takes_every_scene_of_the_simulator_for_its_own(table, tmp_path):
    """Also one whose block was pushed over the edge of the table: seed 629, down."""
    wide, episodes = PushT(256), [(629, "down"), *zip(range(500_000, 500_014), (*TASKS, *MOTIONS) * 2, strict=True)]
    for seed, task in episodes:
        for sim in (table, wide):
            sim.start(seed)
            frames, _, _ = play(sim, task, seed, 50)
            for frame in frames[::10]:
                Image.fromarray(frame).save(tmp_path / "frame.jpg")
                for seen in (frame, np.asarray(Image.open(tmp_path / "frame.jpg"))):
                    assert scenes.mismatch(Scene.pusht, seen) is None, (seed, task)


def test_overlap_is_one_for_the_same_mask_and_zero_for_disjoint_ones():
    mask = np.zeros((8, 8), bool)
    mask[:4] = True

    assert tracking.overlap(mask, mask) == 1
    assert tracking.overlap(mask, ~mask) == 0


def test_pixels_survive_the_way_to_model_space_and_back():
    pixels = np.array([[0.0, 511.0], [256.0, 12.5]])

    np.testing.assert_allclose(to_pixels(to_model_space(pixels)), pixels, atol=1e-4)


def test_the_source_gives_frames_true_actions_and_the_task():
    observation = PushTSource().read("500003@task:down@start:4", ObservationRequest(num_frames=17, domain="pusht"))

    assert observation.frames.shape == (17, 96, 96, 3)
    assert observation.actions.shape == (16, 2)
    assert observation.task == "Push the T block down."
    assert (observation.domain, observation.fps) == ("pusht", 10.0)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("left", "SEED is a whole number"),
        ("3@task:lfet", "Did you mean left"),
        ("3@speed:2", "@speed that is not known"),
        ("3@start:x", "not a frame number"),
    ],
)
def test_a_wrong_address_says_what_to_type(address, message):
    with pytest.raises(errors.ObservationError, match=message):
        PushTSource().read(address, ObservationRequest())


def test_every_task_and_motion_of_the_expert_has_its_words():
    assert {*WORDS} == {*TASKS, *MOTIONS}


def test_the_command_lists_its_tables_and_its_experiment_with_a_sentence_each(capsys):
    for verb in ("samples", "experiments"):
        with pytest.raises(SystemExit, match="0"):
            main([verb])
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())

    assert listed["pusht:..."].startswith("The PushT simulator: table number SEED")
    assert listed["pusht_closed_loop"].startswith("How far do policies get with the block over 20 tables")
    assert listed["pusht_closed_loop"].endswith("?")  # over two lines of its file


def test_it_keeps_the_rules_of_a_plugin():
    testing.check_source(PushTSource, "3@task:left")
    testing.check_plugin(strands_diffusers_pusht)
