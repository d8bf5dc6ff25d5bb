"""`policy=person` does a saved session again, and refuses what is none."""

import json

import numpy as np
import pytest

from strands_diffusers.config.compose import compose
from strands_diffusers.errors import ActionError, ConfigError
from strands_diffusers.runner import job

LOOP = ("condition=closed_loop", "condition.act_steps=4", "policy=person", "tracker=none")


@pytest.fixture
def session(tmp_path):
    def write(value) -> str:
        (tmp_path / "episode.json").write_text(json.dumps({"proposed_action": np.array(value).tolist()}))
        return f"policy.actions={tmp_path / 'episode.json'}"

    return write


def check(*overrides):
    return job.check(compose([*LOOP, *overrides]))


def test_a_session_is_asked_for_and_must_be_one_long_enough(session):
    with pytest.raises(ConfigError, match="strands-diffusers play"):
        check()
    with pytest.raises(ActionError, match=r"has shape \[16, 2\]; policy=person needs \[K, 16, D\]"):
        check(session(np.zeros((16, 2))))
    with pytest.raises(ActionError, match=r"has 3 looks; 4 are asked for. Use condition.num_looks=3"):
        check(session(np.zeros((3, 16, 2))))
    with pytest.raises(ActionError, match="needs 2: target_x, target_y"):
        check(session(np.zeros((4, 16, 3))))


def test_the_same_session_is_the_same_job_wherever_it_lies_and_another_one_is_another(session):
    proposals = np.linspace(-0.5, 0.5, 128).reshape(4, 16, 2)
    first = check(session(proposals)).hash

    assert check(session(proposals)).hash == first
    assert check(session(-proposals)).hash != first
