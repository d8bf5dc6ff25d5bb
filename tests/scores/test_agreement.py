"""`score=[agreement]` with the embedded model: the actions that were executed agree more than others, whatever the length."""

import dataclasses

import numpy as np
import pytest

from strands_diffusers import Setting, Track, actions, errors, testing
from strands_diffusers.observations.samples import SampleSource
from strands_diffusers.results import ObservationRequest
from strands_diffusers.scores.agreement import AgreementScore

SPACE = actions.space_of("pusht", pixel_map=True)


@pytest.fixture(scope="module")
def setting():
    config = testing.compose("condition=closed_loop", "score=[agreement]", "observation=sample:push_left")
    seen = SampleSource().read("push_left", ObservationRequest(num_frames=33, domain="pusht"))
    return Setting(config, seen, SPACE, seen.task, 10.0, 16, 8, 2)


@pytest.fixture(scope="module")
def score(setting):
    made = AgreementScore()
    made.check(setting)
    made.reset(setting)
    yield made
    made.close()


@pytest.mark.slow
def test_executed_actions_agree_more_than_mirrored_ones(setting, score):
    frames, rows = setting.observation.frames[:17], setting.observation.actions[:16]

    true, again, other = (score.compute(Track(frames, each)) for each in (rows, rows, -rows))

    assert true.shape == (17,)
    assert np.isnan(true[0])
    assert np.isfinite(true[1:]).all()
    assert true[1:].mean() < 0.05
    assert other[1:].mean() > 4 * true[1:].mean()
    np.testing.assert_array_equal(true, again)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [8, 20])
def test_episodes_that_are_no_whole_number_of_chunks_are_judged_to_their_end(setting, score, steps):
    frames, rows = setting.observation.frames[: steps + 1], setting.observation.actions[:steps]

    found = score.compute(Track(frames, rows))

    assert found.shape == (steps + 1,)
    assert np.isfinite(found[1:]).all()
    assert found[1:].mean() < 0.1
    if steps > 16:
        whole = score.compute(Track(frames[:17], rows[:16]))
        np.testing.assert_array_equal(found[:17], whole)


def test_a_model_that_cannot_do_it_is_refused_before_anything_loads(setting):
    config = dataclasses.replace(setting.config, model=dataclasses.replace(setting.config.model, repo="/nowhere"))

    with pytest.raises(errors.RequestError, match="nowhere"):
        AgreementScore().check(dataclasses.replace(setting, config=config))
