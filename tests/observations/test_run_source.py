import json

import numpy as np
import pytest
from observing import indexes, one_line, request, striped

from strands_diffusers import records
from strands_diffusers.errors import ObservationError
from strands_diffusers.observations.resolve import absolute_address, read_observation
from strands_diffusers.observations.runs import RunSource
from strands_diffusers.outputs.serializers import ActionSerializer, ImageSerializer, VideoSerializer
from strands_diffusers.results import ActionSpace, Rollout
from strands_diffusers.runner.run import sample_record, write_failure

PUSHT = request("policy", 17, 10.0, "pusht")


def rollout(sample=None, **changes):
    action = np.linspace(-1, 1, 32, dtype=np.float32).reshape(1, 16, 2) + (sample or 0)
    fields = {
        "video": striped(17),
        "action": action,
        "fps": 10.0,
        "space": ActionSpace("pusht"),
        "seed": 7 + (sample or 0),
    }
    return Rollout(mode="policy", prompt="Push the T block up.", sample=sample, **(fields | changes))


def finish(directory, *rollouts, serializers=(VideoSerializer, ActionSerializer)):
    """A finished job's folder, written by the runner's own functions."""
    artifacts = []
    for result in rollouts:
        folder = directory if result.sample is None else directory / f"sample_{result.sample:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        artifacts += [artifact for cls in serializers for artifact in cls().save(result, folder)]
    samples = tuple(sample_record(result, {}) for result in rollouts)
    files = tuple(records.file_entry(artifact, directory) for artifact in artifacts)
    records.write(records.Record(directory, hash="a" * 16, samples=samples, artifacts=files))
    return directory


def read(address, asked=PUSHT):
    return RunSource().read(str(address), asked)


def test_a_finished_run_gives_its_video_actions_task_domain_and_rate(tmp_path):
    directory = finish(tmp_path / "run", rollout())

    seen = read(directory)

    assert indexes(seen.frames) == list(range(17))
    assert (seen.fps, seen.task, seen.domain) == (10.0, "Push the T block up.", "pusht")
    np.testing.assert_array_equal(seen.actions, rollout().action[0])
    assert seen.details["run_seed"] == 7


def test_a_forward_dynamics_run_gives_the_actions_that_it_was_given(tmp_path):
    given = np.random.default_rng(2).uniform(-1, 1, (2, 8, 2)).astype(np.float32)
    made = rollout(action=None, given_action=given)

    directory = finish(tmp_path, made, serializers=[VideoSerializer])

    np.testing.assert_array_equal(read(directory).actions, given.reshape(16, 2))
    shifted = read(f"{directory}@start:4", request("inverse_dynamics", 9, 10.0, "pusht"))
    np.testing.assert_array_equal(shifted.actions, given.reshape(16, 2)[4:12])


def test_the_episodes_of_a_sweep_are_its_samples_that_have_a_video_and_actions(tmp_path):
    finish(tmp_path / "0", rollout())
    finish(tmp_path / "1", rollout(0), rollout(1))
    finish(tmp_path / "2", rollout(action=None), serializers=[VideoSerializer])
    write_failure(tmp_path / "3", "out of memory", "denoise")

    found = RunSource().episodes(str(tmp_path))

    assert found == [(f"{tmp_path}/0", 17), (f"{tmp_path}/1@sample:0", 17), (f"{tmp_path}/1@sample:1", 17)]
    for address, frames in found:
        assert (
            len(read(f"{address}@start:4", request("inverse_dynamics", frames - 4, 10.0, "pusht")).actions)
            == frames - 5
        )
    with pytest.raises(ObservationError, match="holds no finished job with a video and actions"):
        RunSource().episodes(str(tmp_path / "2"))


def test_a_start_shifts_video_and_actions_together(tmp_path):
    seen = read(f"{finish(tmp_path, rollout())}@start:4", request("policy", 9, 10.0, "pusht"))

    assert indexes(seen.frames) == list(range(4, 13))
    np.testing.assert_array_equal(seen.actions, rollout().action[0, 4:12])


def test_a_sample_of_several_is_chosen_by_number(tmp_path):
    directory = finish(tmp_path, *(rollout(sample) for sample in range(3)))

    assert read(f"{directory}@sample:2").details["run_seed"] == 9
    np.testing.assert_array_equal(read(f"{directory}@sample:2").actions, rollout(2).action[0])
    assert read(directory).details["sample"] == 0
    with pytest.raises(ObservationError, match="no sample 3: they are 0 to 2"):
        read(f"{directory}@sample:3")


def test_a_run_of_one_has_no_sample_to_choose(tmp_path):
    with pytest.raises(ObservationError, match="has a single sample"):
        read(f"{finish(tmp_path, rollout())}@sample:0")


def test_a_run_that_made_an_image_gives_it_exactly(tmp_path):
    image = striped(3)[2:]
    made = rollout(video=None, action=None, fps=None, space=None, image=image)

    seen = read(finish(tmp_path, made, serializers=[ImageSerializer]), request("image", 1, None))

    np.testing.assert_array_equal(seen.frames, image)
    assert (seen.fps, seen.actions, seen.domain) == (None, None, None)


def test_another_domain_is_refused(tmp_path):
    with pytest.raises(ObservationError, match="seen in the domain pusht, and this run has domain=umi"):
        read(finish(tmp_path, rollout()), request("policy", 17, 10.0, "umi"))


def test_another_rate_drops_video_and_actions_as_reference(tmp_path):
    directory = finish(tmp_path, rollout())

    seen = read(directory, request("policy", 17, 5.0, "pusht"))

    assert (len(seen.frames), seen.actions) == (1, None)
    with pytest.raises(ObservationError, match=r"Type domain\.fps=10\."):
        read(directory, request("inverse_dynamics", 17, 5.0, "pusht"))


# ---------------------------------------------------------------------------------------------------- unfinished runs


def test_folders_that_are_no_finished_run_say_why(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "sweep").mkdir()
    for index in (0, 1):
        finish(tmp_path / "sweep" / str(index), rollout())
    failed = tmp_path / "failed"
    write_failure(failed, RuntimeError("CUDA out of\nmemory"), "denoise")
    damaged = finish(tmp_path / "damaged", rollout())
    (damaged / "manifest.json").write_text('{"artifacts": [')
    foreign = finish(tmp_path / "foreign", rollout())
    (foreign / "manifest.json").write_text('{"files": []}')
    for name, words in {
        "none": "does not exist",
        "empty": "holds no manifest.json",
        "sweep": r"inside it are 0, 1\. Type run:.*sweep/0\.",
        "failed": "failed and left no rollout: RuntimeError: CUDA out of memory",
        "damaged": "manifest.json cannot be read",
        "foreign": "schema version None",
        "damaged/video.mp4": "is a file",
    }.items():
        with pytest.raises(ObservationError, match=words) as error:
            read(tmp_path / name)
        assert name in one_line(error)


def test_files_that_changed_or_vanished_since_are_refused(tmp_path):
    directory = finish(tmp_path, rollout())
    video = (directory / "video.mp4").read_bytes()

    (directory / "video.mp4").write_bytes(video + b"\0")
    with pytest.raises(ObservationError, match="has changed since the job finished"):
        read(directory)
    (directory / "video.mp4").unlink()
    with pytest.raises(ObservationError, match="is gone since the job finished"):
        read(directory)


def test_a_manifest_cannot_point_outside_its_folder(tmp_path):
    directory = finish(tmp_path / "run", rollout())
    (directory / "video.mp4").rename(tmp_path / "video.mp4")
    record = json.loads((directory / "manifest.json").read_text())
    for entry in record["artifacts"]:
        if entry["type"] == "video":
            entry["path"] = "../video.mp4"
    (directory / "manifest.json").write_text(json.dumps(record))

    with pytest.raises(ObservationError, match="outside of the job's folder"):
        read(directory)


def test_a_run_without_anything_to_see_says_so(tmp_path):
    directory = finish(tmp_path, rollout(), serializers=[])

    with pytest.raises(ObservationError, match="neither a video nor an image nor actions"):
        read(directory)


def test_the_folder_becomes_absolute(tmp_path, sources):
    finish(tmp_path / "outputs" / "1", rollout())

    address = absolute_address("run:outputs/1@start:2", tmp_path, sources)

    assert address == f"run:{tmp_path}/outputs/1@start:2"
    assert len(read_observation(address, PUSHT, sources).frames) == 15
