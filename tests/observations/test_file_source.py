import json
import re

import numpy as np
import pytest
from observing import ffmpeg, indexes, one_line, request, striped
from PIL import Image

from strands_diffusers.errors import ActionError, ObservationError
from strands_diffusers.observations.files import FileSource
from strands_diffusers.observations.resolve import absolute_address, read_observation

ROWS_TD = np.arange(40, dtype=np.float32).reshape(20, 2) / 100


@pytest.fixture
def rows_file(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS_TD.tolist()))
    return path


def read(address, asked):
    return FileSource().read(str(address), asked)


def test_real_clips_with_their_actions_are_read(data):
    folder = data / "nvidia_cosmos"
    asked = request("inverse_dynamics", 17, 20.0, "umi")

    seen = read(f"{folder}/umi.mp4@actions:{folder}/umi.json@start:3@task:Put it down.", asked)

    truth = np.float32(json.loads((folder / "umi.json").read_text()))
    assert (seen.frames.shape, seen.fps, seen.task) == ((17, 256, 256, 3), 20.0, "Put it down.")
    np.testing.assert_array_equal(seen.actions, truth[3:19])


def test_an_image_is_one_frame_without_a_rate(data):
    folder = data / "nvidia_cosmos"

    seen = read(f"{folder}/umi.png@actions:{folder}/umi.json", request("forward_dynamics", 17, 20.0, "umi"))

    assert (seen.frames.shape, seen.fps, seen.actions.shape) == ((1, 256, 256, 3), None, (16, 10))


def test_an_action_file_alone_gives_actions_and_no_frames(rows_file):
    seen = read(f"{rows_file}@start:2", request("forward_dynamics", 9))

    assert seen.frames is None
    np.testing.assert_array_equal(seen.actions, ROWS_TD[2:10])


def test_a_folder_of_images_is_a_clip_without_a_rate(tmp_path):
    (tmp_path / "frames").mkdir()
    for i, frame in enumerate(striped(12)):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{i}.png")

    seen = read(f"{tmp_path}/frames@start:1@stride:2", request("inverse_dynamics", 5))

    assert (indexes(seen.frames), seen.fps) == ([1, 3, 5, 7, 9], None)
    with pytest.raises(ObservationError, match="has 2 frames to give"):
        read(f"{tmp_path}/frames@start:10", request("inverse_dynamics", 5))
    with pytest.raises(ObservationError, match="no rate of its own"):
        read(f"{tmp_path}/frames@fps:5", request())


# ------------------------------------------------------------------------------------------- enough frames, right rate


@pytest.mark.parametrize(
    ("mode", "advice"), [("inverse_dynamics", "condition.chunk_size"), ("video", "condition.condition_frames")]
)
def test_a_clip_shorter_than_the_mode_needs_says_how_many_it_has_and_needs(mode, advice, write_clip):
    with pytest.raises(
        ObservationError, match=rf"clip\.mp4 has 9 frames to give; condition={mode} needs 17\..*{advice}"
    ) as error:
        read(write_clip("clip.mp4", 9), request(mode))
    one_line(error)


@pytest.mark.parametrize("mode", ["policy", "forward_dynamics", "image"])
def test_modes_that_start_from_one_frame_take_a_short_clip(mode, write_clip):
    seen = read(write_clip("clip.mp4", 9), request(mode))

    assert indexes(seen.frames) == list(range(9))


def test_no_more_frames_are_kept_than_the_request_can_use(write_clip):
    assert len(read(write_clip(), request(num_frames=5)).frames) == 5
    assert len(read(write_clip(), request(num_frames=None)).frames) == 17


@pytest.mark.parametrize("mode", ["inverse_dynamics", "video"])
def test_a_clip_at_another_rate_is_refused_where_its_later_frames_count(mode, write_clip):
    path = write_clip("clip.mp4", 17, "30")
    expected = rf"runs at 30 Hz and the model would take it for 5 Hz. Type observation={re.escape(str(path))}@fps:5 \(one frame in 6\), or "

    with pytest.raises(ObservationError, match=expected + r"domain\.fps=30\.") as error:
        read(path, request(mode, domain="bridge_orig_lerobot"))
    one_line(error)
    with pytest.raises(ObservationError, match=expected + r"condition\.fps=30\."):
        read(path, request(mode))


def test_what_the_message_says_to_type_works(write_clip):
    path = write_clip("clip.mp4", 25, "30")

    seen = read(f"{path}@fps:5", request("inverse_dynamics", 5))

    assert (indexes(seen.frames), seen.fps) == ([0, 6, 12, 18, 24], 5.0)


@pytest.mark.parametrize("mode", ["policy", "forward_dynamics"])
def test_elsewhere_only_its_first_frame_is_kept_and_the_reason_is_recorded(mode, write_clip):
    seen = read(write_clip("clip.mp4", 17, "30"), request(mode))

    assert indexes(seen.frames) == [0]
    assert "the frames after the first are left out: it runs at 30 Hz" in seen.details["reference"]
    assert "reference" not in read(write_clip("clip.mp4", 17, "5"), request(mode)).details


def test_a_rate_within_one_percent_is_the_same_rate(write_clip):
    path = write_clip("clip.mp4", 17, "30000/1001")

    assert len(read(path, request("inverse_dynamics", fps=30.0)).frames) == 17
    assert len(read(path, request("inverse_dynamics", fps=None)).frames) == 17


def test_actions_of_a_clip_at_another_rate_are_refused_in_every_mode(write_clip, rows_file):
    path = write_clip("clip.mp4", 17, "30")
    for mode in ("policy", "forward_dynamics", "inverse_dynamics"):
        with pytest.raises(ObservationError, match=r"Type domain\.fps=30\."):
            read(f"{path}@actions:{rows_file}", request(mode, domain="pusht"))
    with pytest.raises(ActionError, match="skipped frames"):
        read(f"{path}@fps:5@actions:{rows_file}", request())


def test_unevenly_spaced_frames_are_no_reference_and_no_condition(write_clip, tmp_path):
    uneven = tmp_path / "uneven.mkv"
    ffmpeg(
        "-i", write_clip(), "-vf", "select='not(between(n,5,9))'", "-fps_mode", "passthrough", "-c:v", "ffv1", uneven
    )

    with pytest.raises(ObservationError, match=r"not evenly spaced in time.*ffmpeg"):
        read(uneven, request("inverse_dynamics", 9))
    assert len(read(uneven, request("policy")).frames) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("@fps:7", r"no whole number of frames apart makes 7 Hz\. Type @stride:4 \(7\.5 Hz\) or @stride:5 \(6 Hz\)"),
        ("@fps:60", "would have to invent frames"),
        ("@fps:5@stride:2", "Keep one of them"),
        ("@stride:0", "whole number >= 1"),
        ("@start:99", "has no frame 99: it has 17 frames"),
        ("@from:3", "is no option"),
    ],
)
def test_a_choice_of_frames_that_cannot_be_made_says_what_can(options, words, write_clip):
    with pytest.raises(ObservationError, match=words) as error:
        read(f"{write_clip('clip.mp4', 17, '30')}{options}", request(fps=30.0))
    one_line(error)


# --------------------------------------------------------------------------------------------------------- bad files


def test_a_missing_file_gets_its_nearest_neighbour(write_clip):
    path = write_clip("robot.mp4")

    with pytest.raises(
        ObservationError, match=r"does not exist\. Did you mean 'robot\.mp4'\? An observation is an image"
    ) as error:
        read(path.with_name("robto.mp4"), request())
    one_line(error)


def test_files_of_other_kinds_are_refused_with_what_is_accepted(tmp_path):
    for name in ("notes.txt", "robot", "scene.bag", "frames.tar.gz"):
        (tmp_path / name).write_text("something")
        with pytest.raises(ObservationError, match="none of the files that can be observed") as error:
            read(tmp_path / name, request())
        assert name in one_line(error)


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.png", "a.jpg", "a.json", "a.npy"])
@pytest.mark.parametrize("content", [b"", b"garbage" * 99])
def test_empty_files_and_garbage_are_named_whatever_they_are_called(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ObservationError) as error:
        read(tmp_path / name, request())
    assert str(tmp_path / name) in one_line(error)


def test_options_that_do_not_apply_are_refused(rows_file, tmp_path):
    Image.fromarray(striped(1)[0]).save(tmp_path / "a.png")
    with pytest.raises(ObservationError, match=r"@start: does not apply .* single frame"):
        read(f"{tmp_path}/a.png@start:3", request())
    with pytest.raises(ObservationError, match=r"@fps: does not apply .* one row per step"):
        read(f"{rows_file}@fps:3", request())
    with pytest.raises(ActionError, match="has 20 rows of actions, none from row 20 on"):
        read(f"{rows_file}@start:20", request())


def test_a_path_beyond_all_limits_is_one_short_line(sources):
    with pytest.raises(ObservationError, match="does not exist") as error:
        read_observation("x" * 50_000, request(), sources)
    one_line(error)


def test_paths_become_absolute_from_any_folder(sources, tmp_path):
    odd = tmp_path / "a@fps:5.mp4"
    odd.touch()

    assert absolute_address("clips/a.mp4@actions:b.json@start:3", tmp_path, sources) == (
        f"{tmp_path}/clips/a.mp4@actions:{tmp_path}/b.json@start:3"
    )
    assert absolute_address("a@fps:5.mp4@start:1", tmp_path, sources) == f"{odd}@start:1"


def test_copies_of_editors_and_systems_are_no_actions(sources, tmp_path):
    rows = json.dumps([[1.0, 2.0]] * 4)
    for name in ("a.json", "._a.json", ".ipynb_checkpoints/a-checkpoint.json", "day_2/b.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(rows)

    found = list(sources["file"].action_rows(str(tmp_path), "pusht").pieces)

    assert [len(piece) for piece in found] == [4, 4]


def test_a_folder_of_actions_does_not_lead_out_of_itself(sources, tmp_path):
    (tmp_path / "secret.json").write_text("[[1.0, 2.0]]")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.json").symlink_to(tmp_path / "secret.json")

    with pytest.raises(ObservationError, match=r"a\.json is a link that leads out of the folder"):
        sources["file"].action_rows(str(tmp_path / "mine"), "pusht")


@pytest.mark.parametrize("name", ["~no_user_of_that_name/x.png", "x\0.png", "x" * 5000, "file.txt/x.png"])
def test_what_cannot_be_a_path_is_just_not_there(name, sources, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("")

    with pytest.raises(ObservationError, match="does not exist") as error:
        sources["file"].read(name, request())
    one_line(error)
