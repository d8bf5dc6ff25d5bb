"""A session is a tree: acting at a moment makes the next one, whatever was done elsewhere meanwhile; a branch is a run."""

import json

import numpy as np
import pytest

from strands_diffusers import records, rollout
from strands_diffusers.errors import ActionError, ConfigError, RequestError
from strands_diffusers.play.session import POLICY_STEPS, Session

from .conftest import QUICK

pytestmark = pytest.mark.slow
LEFT, RIGHT = {"point": [120, 250], "speed": 30}, {"point": [400, 250], "speed": 30}


def test_a_branch_does_not_depend_on_what_was_done_on_another_one_meanwhile(session):
    start = session.begin()
    first = session.act(0, LEFT)
    further = session.act(first.id, LEFT)
    session.act(0, RIGHT)

    again = session.act(first.id, LEFT)

    assert (start.frames.shape, first.frames.shape) == ((1, 96, 96, 3), (4, 96, 96, 3))
    assert [m.id for m in again.path] == [0, first.id, again.id]
    np.testing.assert_array_equal(again.frames, further.frames)
    np.testing.assert_array_equal(again.proposal, further.proposal)
    assert np.abs(session.moments[3].frames.astype(int) - first.frames).max() > 60  # the pusher is elsewhere


def test_a_policy_that_is_handed_over_to_looks_again_after_some_steps_and_begins_anew_with_another_task(
    session, monkeypatch
):
    policy, proposed = session.offered()["model"].policy, []
    monkeypatch.setattr(policy, "act", lambda look, act=policy.act: (proposed.append(look.proposed), act(look))[1])
    session.begin()
    first = session.hand_over(0, "model", "Push the T block to the left.")
    second = session.hand_over(first.id, "model", "Push the T block to the left.")
    third = session.hand_over(second.id, "model", "Push the T block to the left.")
    other = session.hand_over(first.id, "model", "Push the T block up.")

    assert POLICY_STEPS == 8
    np.testing.assert_array_equal(second.proposal[:12], first.proposal[4:])  # it goes on as it proposed
    assert not np.array_equal(third.proposal[:8], second.proposal[4:12])  # it looked again
    assert not np.array_equal(other.proposal, second.proposal)
    assert proposed[0] is None
    np.testing.assert_array_equal(proposed[1], second.proposal)  # what it said before
    assert (first.by, first.task, other.task) == ("model", "Push the T block to the left.", "Push the T block up.")
    assert {"model", "still", "random"} <= session.offered().keys()
    assert not {"person", "server"} & session.offered().keys()


def test_a_saved_branch_is_an_ordinary_run_that_can_be_repeated_bit_for_bit(session, tmp_path):
    session.begin()
    mine = session.act(0, LEFT)
    last = session.hand_over(mine.id, "model", "Push the T block to the left.")
    session.act(mine.id, RIGHT)

    outcome = session.save(last.id)

    record = records.read(outcome.record.directory)
    episode = json.loads((record.directory / "episode.json").read_text())
    assert (record.status, record.problems, record.mode) == ("done", (), "closed_loop")
    assert (episode["policy"], episode["world"], episode["act_steps"]) == ("person", "model", 4)
    assert [look["details"] for look in episode["looks"]] == [
        {"by": "person"}, {"by": "model", "task": "Push the T block to the left."},
    ]  # fmt: skip
    assert (record.directory / "index.html").is_file()
    assert session.saved == {last.id: "0"}
    np.testing.assert_array_equal(outcome.rollouts[0].video, np.concatenate([m.frames for m in last.path]))

    again = rollout(*record.overrides[:-1], record.overrides[-1], output_dir=tmp_path / "again")

    np.testing.assert_array_equal(again.video, outcome.rollouts[0].video)
    np.testing.assert_array_equal(again.episode.proposed_action, outcome.rollouts[0].episode.proposed_action)


def test_what_cannot_be_is_one_line_and_the_moments_stand(session):
    session.begin()
    for call, message in (
        (lambda: session.act(7, LEFT), "there is no moment 7"),
        (lambda: session.act(0, {"point": ["a", 1]}), "must be 2 numbers"),
        (lambda: session.hand_over(0, "modle", "x"), "there is no policy 'modle'; there are model"),
        (lambda: session.hand_over(0, "model", " "), "policy=model needs a task"),
        (lambda: session.save(0), "nothing was done yet"),
    ):
        with pytest.raises((ConfigError, ActionError), match=message):
            call()
    assert len(session.moments) == 1
    assert session.act(0, LEFT).id == 1


def test_the_memory_of_a_session_is_bounded():
    session = Session([*QUICK], memory_mb=0.3)
    session.begin()
    first = session.act(0, LEFT)
    second = session.act(first.id, LEFT)

    with pytest.raises(RequestError, match=r"holds 0.3 MB, its limit. Save the branches that matter and start over"):
        session.act(second.id, LEFT)
    with pytest.raises(RequestError, match="its limit"):
        session.act(0, RIGHT)
    assert session.used < 0.3e6
    session.close()


def test_several_samples_and_other_conditions_are_refused_before_the_model_is_loaded():
    with pytest.raises(ConfigError, match="one episode at a time"):
        Session(["sampler.num_samples=2"])
    with pytest.raises(ConfigError, match="leave condition= as it is"):
        Session(["condition=policy"])


def test_the_steps_of_an_input_are_as_one_says(tmp_path):
    session = Session([*QUICK, "condition=closed_loop", "condition.act_steps=2", f"output_dir={tmp_path}"])
    last = session.begin()
    for _ in range(18):  # longer than the sample goes on
        last = session.act(last.id, LEFT)

    outcome = session.save(last.id)

    assert last.frames.shape[0] == 2
    assert outcome.rollouts[0].video.shape[0] == 37
    assert outcome.record.config["condition"]["act_steps"] == 2
    session.close()
