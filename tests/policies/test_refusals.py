"""What a policy refuses before anything is loaded, and how it names it."""

import pytest

from strands_diffusers import errors, testing
from strands_diffusers.runner import job

LOOP = ("condition=closed_loop", "tracker=none")


@pytest.fixture
def picture(tmp_path):
    from PIL import Image

    Image.new("RGB", (96, 96), "white").save(tmp_path / "seen.png")
    return f"observation={tmp_path / 'seen.png'}"


def test_still_is_refused_before_anything_loads_where_nobody_can_tell_what_to_hold(picture):
    with pytest.raises(errors.ActionError, match=r"^policy=still: domain pusht holds absolute values"):
        job.check(testing.compose(*LOOP, "policy=still", picture))

    job.check(testing.compose(*LOOP, "policy=still", "observation=sample:push_left"))


def test_another_checkpoint_that_is_not_there_is_named_by_the_key_that_was_typed():
    with pytest.raises(errors.ModelError, match=r"^policy\.repo=/no/such/folder does not exist\."):
        job.check(testing.compose(*LOOP, "policy.repo=/no/such/folder"))
