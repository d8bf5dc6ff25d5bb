import numpy as np
import pytest
from observing import one_line, request

from strands_diffusers.errors import ObservationError
from strands_diffusers.observations.resolve import read_observation
from strands_diffusers.observations.samples import ROOT, SampleSource, names

SAMPLES = ["free_motion", "push_down", "push_left", "push_right", "push_up", "to_goal"]
PUSHT = request("policy", 17, 10.0, "pusht")


def read(address, asked=PUSHT):
    return SampleSource().read(address, asked)


def test_there_are_six_samples_and_they_are_small():
    assert names() == SAMPLES
    for name in SAMPLES:
        assert sum(file.stat().st_size for file in (ROOT / name).iterdir()) < 60_000


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_holds_two_chunks_of_video_and_true_actions(name):
    whole = read(name, request("policy", 33, 10.0, "pusht"))

    assert (whole.frames.shape, whole.frames.dtype) == ((33, 96, 96, 3), np.uint8)
    assert (whole.actions.shape, whole.actions.dtype) == ((32, 2), np.float32)
    assert (whole.fps, whole.domain) == (10, "pusht")
    assert np.abs(whole.actions).max() < 1
    assert whole.task[0].isupper()
    assert whole.details["seed"] >= 500_000, "the embedded model was trained on the seeds below"


def pusher_px(frame_HWC):
    """Centre of the blue disc, in simulator pixels."""
    red, green, blue = (frame_HWC[..., i].astype(int) for i in range(3))
    rows, columns = np.nonzero((blue > 180) & (red < 110) & (green < 150))
    return np.array([columns.mean(), rows.mean()]) / 96 * 512


@pytest.mark.parametrize("name", SAMPLES)
def test_frames_state_and_actions_belong_together(name):
    """The disc is where the state says in frame 0, and follows the actions (pixel / 256 - 1) to the end."""
    whole = read(name, request("policy", 33, 10.0, "pusht"))

    assert np.abs(pusher_px(whole.frames[0]) - whole.details["state"][:2]).max() < 12
    target_px = (whole.actions[:-1] + 1) * 256
    seen_px = np.array([pusher_px(frame) for frame in whole.frames[2:]])
    assert np.median(np.linalg.norm(seen_px - target_px, axis=1)) < 40
    assert np.median(np.linalg.norm(seen_px - seen_px.mean(axis=0), axis=1)) > 40, "it moves far more than it lags"


def test_a_start_shifts_frames_actions_and_state_together():
    whole, later = read("to_goal", request("policy", 33, 10.0, "pusht")), read("to_goal@start:16")

    np.testing.assert_array_equal(later.frames, whole.frames[16:])
    np.testing.assert_array_equal(later.actions, whole.actions[16:])
    assert later.details["state"] != whole.details["state"]
    assert read("to_goal@start:32").actions is None


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("push_lft", "there are free_motion, push_down, push_left, .*Did you mean 'push_left'"),
        ("../samples/push_left", "there is no sample"),
        ("push_left@start:33", "no frame 33: its last is 32"),
        ("push_left@stride:2", "is no option of push_left; there are @start:"),
    ],
)
def test_a_wrong_sample_says_what_there_is(address, words):
    with pytest.raises(ObservationError, match=words) as error:
        read(address)
    one_line(error)


def test_another_domain_is_refused_before_its_rate_is(sources):
    with pytest.raises(ObservationError, match="seen in the domain pusht, and this run has domain=bridge") as error:
        read_observation("sample:push_left", request("inverse_dynamics", 17, 5.0, "bridge_orig_lerobot"), sources)
    one_line(error)


def test_conditions_without_a_domain_take_any_sample(sources):
    assert len(read_observation("sample:push_up", request("image", 1, None), sources).frames) == 1


def test_another_rate_is_refused_for_inverse_dynamics_and_drops_the_reference_of_a_policy():
    with pytest.raises(ObservationError, match=r"10 Hz .* 20 Hz\. Type domain\.fps=10\."):
        read("push_left", request("inverse_dynamics", 17, 20.0, "pusht"))
    seen = read("push_left", request("policy", 17, 20.0, "pusht"))
    assert (len(seen.frames), seen.actions) == (1, None)
    assert "left out" in seen.details["reference"]


def test_a_sample_shorter_than_the_request_is_refused_where_it_counts():
    with pytest.raises(ObservationError, match="has 17 frames to give; condition=inverse_dynamics needs 33"):
        read("push_left@start:16", request("inverse_dynamics", 33, 10.0, "pusht"))
