"""`observation.png` and `reference.mp4`: what a job keeps of what it saw."""

from dataclasses import replace

import numpy as np
from PIL import Image
from rollouts import moving_frames, rollout_of

from strands_diffusers.outputs.observed import write_observed
from strands_diffusers.results import Observation


def test_the_first_frame_and_the_reference_are_kept(tmp_path, decode):
    frames = moving_frames(17)
    made = rollout_of("pusht", observation=Observation(frames), reference_video=frames)

    first, reference = write_observed(made, tmp_path)

    assert (first.path.name, first.type) == ("observation.png", "observation")
    assert (reference.path.name, reference.type) == ("reference.mp4", "reference")
    assert first.details["shape"] == [96, 128, 3]
    with Image.open(first.path) as picture:
        kept = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(kept, frames[0])
    assert np.abs(decode(reference.path).astype(int) - frames).mean() < 1.5


def test_a_large_frame_is_scaled_down_and_nothing_is_written_of_nothing(tmp_path):
    made = rollout_of("pusht", observation=Observation(np.zeros((1, 600, 2048, 3), np.uint8)))
    [large] = write_observed(made, tmp_path)

    assert large.details["shape"] == [300, 1024, 3]
    with Image.open(large.path) as picture:
        assert picture.size == (1024, 300)
    assert write_observed(replace(made, observation=Observation()), tmp_path / "nowhere") == []
