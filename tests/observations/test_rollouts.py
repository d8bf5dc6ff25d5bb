"""Finished jobs read back: what was written exactly is exact, what was written as video is close, the rest is refused."""

import dataclasses

import numpy as np
import pytest
from finished_jobs import finish
from rollouts import moving_frames, rollout_of

from strands_diffusers import records
from strands_diffusers.errors import ObservationError
from strands_diffusers.metrics.action import ActionMetric
from strands_diffusers.metrics.video import VideoMetric
from strands_diffusers.observations.rollouts import read_rollouts
from strands_diffusers.results import Mesh, Observation


def policy(**fields):
    frames = moving_frames(17)
    reference = np.random.default_rng(1).normal(0, 0.3, (1, 16, 2)).astype(np.float32)
    seen = Observation(frames, 10.0, None, "Push it.", "pusht", "sample:push_left", {"kind": "sample"})
    given = {
        "pixel_map": True, "prompt": "Push it.", "video": moving_frames(17)[:, :, ::-1].copy(), "observation": seen,
        "reference_video": frames, "reference_action": reference, "details": {"resolved": {"tier": 256}},
    }  # fmt: skip
    return rollout_of("pusht", **given | fields)


def test_a_job_reads_back_as_the_rollout_that_it_was(tmp_path):
    made = policy()
    [found] = read_rollouts(finish(tmp_path / "job", [made]))

    for name in ("mode", "prompt", "seed", "fps", "space", "sample", "details"):
        assert getattr(found, name) == getattr(made, name), name
    np.testing.assert_array_equal(found.action, made.action)
    np.testing.assert_array_equal(found.reference_action, made.reference_action)
    for name in ("video", "reference_video"):
        first, second = getattr(found, name).astype(int), getattr(made, name).astype(int)
        assert first.shape == second.shape
        assert np.abs(first - second).mean() < 2, name
    assert (found.observation.source, found.observation.task) == ("sample:push_left", "Push it.")
    np.testing.assert_array_equal(found.observation.frames, made.observation.frames[:1])


def test_scores_of_actions_are_exact_and_those_of_videos_close_when_measured_from_the_files(tmp_path):
    made = policy()
    [found] = read_rollouts(finish(tmp_path / "job", [made]))

    assert ActionMetric().compute(found) == ActionMetric().compute(made)
    first, second = VideoMetric().compute(found), VideoMetric().compute(made)
    assert first.keys() == second.keys()
    assert first["psnr"] == pytest.approx(second["psnr"], abs=0.2)
    assert first["ssim"] == pytest.approx(second["ssim"], abs=0.03)


def test_every_sample_gets_its_own_arrays_and_the_shared_reference(tmp_path):
    made = [policy(sample=i, seed=5 + i, action=np.full((1, 16, 2), i / 4, np.float32)) for i in range(3)]
    found = read_rollouts(finish(tmp_path / "job", made))

    assert [(r.sample, r.seed, float(r.action[0, 0, 0])) for r in found] == [(0, 5, 0.0), (1, 6, 0.25), (2, 7, 0.5)]
    assert all(r.reference_video.shape == (17, 96, 128, 3) for r in found)


def test_jobs_that_share_a_reference_do_not_share_its_memory(tmp_path):
    jobs = [finish(tmp_path / name, [policy(seed=seed)]) for seed, name in enumerate("ab")]
    [first], before = read_rollouts(jobs[0], {"video"}), read_rollouts(jobs[0], {"video"})[0].reference_video

    first.reference_video[:] = 0
    [second] = read_rollouts(jobs[1], {"video"})

    np.testing.assert_array_equal(second.reference_video, before)
    jobs[1].directory.joinpath("reference.mp4").write_bytes(b"changed")
    with pytest.raises(ObservationError, match="has changed since"):
        read_rollouts(jobs[1], {"video"})


def test_sound_images_meshes_and_odd_sizes_read_back(tmp_path):
    rng = np.random.default_rng(0)
    mesh = Mesh(rng.random((5, 3), np.float32), np.array([[0, 1, 2], [2, 3, 4]], np.int32))
    sound, image = rng.random((100, 2), np.float32), rng.integers(0, 255, (2, 9, 7, 3)).astype(np.uint8)
    made = policy(video=moving_frames(5, 95, 127), sound=sound, sampling_rate=8000, image=image, mesh=mesh,
                  reference_video=None, observation=Observation())  # fmt: skip
    [found] = read_rollouts(finish(tmp_path / "job", [made]))

    np.testing.assert_array_equal(found.sound, sound)
    np.testing.assert_array_equal(found.image, image)
    np.testing.assert_array_equal(found.mesh.vertices, mesh.vertices)
    np.testing.assert_array_equal(found.mesh.faces, mesh.faces)
    assert found.video.shape == (5, 95, 127, 3)
    assert found.reference_video is None
    assert found.observation.frames is None


def test_no_more_is_read_than_was_asked_for(tmp_path):
    record = finish(tmp_path / "job", [policy()])
    record.file("video").unlink()

    [found] = read_rollouts(record, {"action"})

    assert found.video is None
    assert found.reference_video is None
    assert found.action.shape == (1, 16, 2)


def test_a_file_that_is_gone_or_changed_is_named(tmp_path):
    record = finish(tmp_path / "job", [policy()])
    record.file("action").write_text("[[[0.0, 0.0]]]")
    with pytest.raises(ObservationError, match=r"action\.json has changed since the job finished"):
        read_rollouts(record)

    record.file("action").unlink()
    with pytest.raises(ObservationError, match=r"action\.json is gone since the job finished"):
        read_rollouts(record)


@pytest.mark.parametrize("details", [{"shape": [3, 3, 3]}, {"shape": "x"}, {"shape": None}])
def test_a_record_that_does_not_fit_its_files_is_refused_in_one_line(tmp_path, details):
    record = finish(tmp_path / "job", [policy()])
    odd = tuple(dataclasses.replace(a, details=details) if a.type == "action" else a for a in record.artifacts)
    sample = dataclasses.replace(record.samples[0], arrays={})

    with pytest.raises(ObservationError, match="its record does not fit its files"):
        read_rollouts(dataclasses.replace(record, artifacts=odd, samples=(sample,)))


def test_a_failed_job_has_no_rollouts(tmp_path):
    records.write(records.Record(tmp_path, "failed", error="RolloutError: out of memory"))

    with pytest.raises(ObservationError, match="holds no finished rollout: RolloutError: out of memory"):
        read_rollouts(records.read(tmp_path))
