"""The window that comes back is the window that was asked for, or the error says what there is instead."""

import io
import json
import shutil
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import strands_diffusers_lerobot
import toy
from PIL import Image
from strands_diffusers_lerobot.cameras import concat_view
from strands_diffusers_lerobot.choices import Units
from strands_diffusers_lerobot.source import LeRobotSource

from strands_diffusers import ObservationRequest, read_clip, testing
from strands_diffusers.errors import ObservationError


def read(address, num_frames=5, fps=float(toy.FPS), domain="pusht", mode="policy", **config):
    source = LeRobotSource(LeRobotSource.Config(**config))
    return source.read(str(address), ObservationRequest(num_frames, fps, domain, mode))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return toy.write_v3(tmp_path_factory.mktemp("v3") / "set")


@pytest.fixture
def copy(dataset, tmp_path):
    """A dataset to damage."""
    return shutil.copytree(dataset, tmp_path / "set")


@pytest.mark.parametrize("codec", ["libx264", "libsvtav1"])
def test_a_window_is_exact_wherever_it_lies_in_its_video(codec, tmp_path):
    try:
        root = toy.write_v3(tmp_path / "set", codec=codec)
    except subprocess.CalledProcessError as error:
        if codec == "libx264":
            raise
        pytest.skip(f"this ffmpeg has no {codec}: {error.stderr.decode()[:80]}")

    for episode, start in [(0, 0), (0, 7), (1, 0), (1, 12), (1, 17), (2, 0), (2, 9)]:
        seen = read(f"{root}@episode:{episode}@start:{start}@camera:top")

        wanted = list(range(start, min(start + 5, toy.LENGTHS[episode])))
        assert toy.shown(seen.frames, episode) == wanted
        assert seen.frames.shape[1:] == (toy.HEIGHT, toy.WIDTH, 3)
        assert seen.fps == toy.FPS


def test_version_2_reads_the_same(tmp_path, dataset):
    old = toy.write_v2(tmp_path / "old")

    for address in ("@episode:1@start:3@camera:top", "@episode:2@start:9@camera:wrist"):
        mapped = f"{address}@actions:action@units:model"
        first, second = read(f"{old}{mapped}"), read(f"{dataset}{mapped}")
        assert toy.shown(first.frames, first.details["episode"]) == toy.shown(second.frames, first.details["episode"])
        np.testing.assert_array_equal(first.actions, second.actions)
    assert read(f"{old}@episode:1@camera:top").details["version"] == "v2.1"


def test_every_nth_frame_makes_another_rate(dataset):
    seen = read(f"{dataset}@episode:1@start:2@camera:top@fps:5", fps=5.0)

    assert toy.shown(seen.frames, 1) == [2, 4, 6, 8, 10]
    assert seen.fps == 5
    with pytest.raises(
        ObservationError, match=r"no whole number of frames apart makes 4 Hz\. Type @stride:2 \(5 Hz\) or @stride:3"
    ):
        read(f"{dataset}@camera:top@fps:4")


def test_another_rate_keeps_the_first_frame_and_says_what_to_type(dataset):
    seen = read(f"{dataset}@camera:top", fps=5.0)

    assert len(seen.frames) == 1
    assert f"observation=lerobot:{dataset}@camera:top@fps:5" in seen.details["reference"]


def test_the_task_is_the_one_at_that_frame(dataset):
    assert read(f"{dataset}@episode:1@start:4@camera:top").task == "push"
    assert read(f"{dataset}@episode:1@start:5@camera:top").task == "pull"
    assert read(f"{dataset}@camera:top@task:Open the drawer.").task == "Open the drawer."


def test_actions_are_not_guessed(dataset):
    seen = read(f"{dataset}@camera:top")

    assert seen.actions is None
    assert "say which of action are the actions" in seen.details["actions"]


def test_rows_belong_to_the_frames_they_follow(dataset):
    seen = read(f"{dataset}@episode:1@start:6@camera:top@actions:action@units:model")

    np.testing.assert_array_equal(seen.actions, toy.numbers()[1][6:10])


def test_the_config_maps_what_the_address_does_not(dataset):
    seen = read(f"{dataset}@episode:1", camera="top", actions="action:1+action:0", units=Units.model)

    np.testing.assert_array_equal(seen.actions, toy.numbers()[1][:4, ::-1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("@actions:action", r"needs @units:.*one of model, physical, poses"),
        ("@actions:acton@units:model", r"no column 'acton'; there are action\. Did you mean 'action'\?"),
        ("@actions:action:1-2@units:model", r"columns 1 to 2 of 'action', which has 0 to 1"),
        ("@actions:action:0@units:model", r"gives 1 columns; domain pusht has 2: target_x, target_y"),
        ("@actions:action@units:metres", r"@units:metres is not one of model, physical, poses"),
        ("@actions:action@units:poses", r"@units:poses needs @rotation:"),
        ("@actions:action@units:model@stride:2", r"rows of skipped frames cannot be left out of model actions"),
        ("@episode:3", r"no episode 3: there is 0 to 2\. Type @episode:0"),
        ("@start:12", r"episode 0 has 12 frames, 0 to 11; @start:12 lies beyond"),
        ("@camera:side", r"no camera 'side' for episode 0; there are .*top, .*wrist"),
        ("@camera:top+wrist", r"names 2 cameras; give one, or WRIST\+LEFT\+RIGHT"),
        ("@frame:3", r"@frame: is no option of .*; there are @episode:, @start:"),
        ("@camera:top@body:0+0", None),
    ],
)
def test_a_wrong_address_is_refused_with_what_there_is(options, message, dataset):
    camera = "" if "@camera" in options else "@camera:top"
    if message is None:
        read(f"{dataset}{options}")  # a body without actions has nothing to turn
        return
    with pytest.raises(ObservationError, match=message):
        read(f"{dataset}{camera}{options}", fps=None)


def test_several_cameras_must_be_chosen_from(dataset):
    with pytest.raises(ObservationError, match=r"needs @camera:NAME: there are .*images\.top, .*images\.wrist\."):
        read(dataset)


def test_a_camera_without_a_file_is_named_as_such(copy):
    (copy / f"videos/{toy.WRIST}/chunk-000/file-001.mp4").unlink()

    assert toy.shown(read(f"{copy}@episode:0@camera:wrist").frames, 0) == [0, 1, 2, 3, 4]
    assert read(f"{copy}@episode:2").details["camera"] == toy.TOP  # the only one left
    with pytest.raises(ObservationError, match=r"there is .*top \(declared, but without a file here: .*wrist\)"):
        read(f"{copy}@episode:2@camera:wrist")


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("meta/info.json", r"holds no meta/info\.json: it is not a LeRobot dataset"),
        ("meta/episodes", r"meta/episodes holds no parquet file"),
        ("data/chunk-000/file-000.parquet", r"data/chunk-000/file-000\.parquet is missing, which holds episode 0"),
    ],
)
def test_a_missing_file_is_named(gone, message, copy):
    path = copy / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()

    with pytest.raises(ObservationError, match=message):
        read(f"{copy}@camera:top")


def test_the_folder_above_datasets_names_them(dataset):
    with pytest.raises(ObservationError, match=r"it is not a LeRobot dataset\. Datasets in it: set"):
        read(dataset.parent)


@pytest.mark.parametrize("version", ["v1.6", "v4.0", None])
def test_another_version_is_refused_by_name(version, copy):
    info = json.loads((copy / "meta/info.json").read_text()) | {"codebase_version": version}
    (copy / "meta/info.json").write_text(json.dumps(info))

    with pytest.raises(ObservationError, match=rf"of version {version}; v3\.x and v2\.x are read"):
        read(f"{copy}@camera:top")


def test_damaged_files_are_refused(copy):
    data = copy / "data/chunk-000/file-001.parquet"
    data.write_bytes(data.read_bytes()[:-300])
    with pytest.raises(ObservationError, match=r"file-001\.parquet cannot be read"):
        read(f"{copy}@episode:2@camera:top")

    rows = copy / "data/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(rows).slice(0, 20), rows)
    with pytest.raises(ObservationError, match=r"episode 1 should have rows 0 to 19; .* holds 8 of them"):
        read(f"{copy}@episode:1@camera:top")

    (copy / "meta/info.json").write_text("{")
    with pytest.raises(ObservationError, match="truncated or not JSON"):
        read(f"{copy}@camera:top")


def test_a_video_that_is_not_what_meta_says_is_refused(copy):
    place = copy / f"videos/{toy.TOP}/chunk-000"
    toy.video(place / "file-001.mp4", list(range(10)))
    with pytest.raises(ObservationError, match=r"ends 5 frames before episode 2 does"):
        read(f"{copy}@episode:2@start:7@camera:top")

    toy.video(place / "file-000.mp4", [4 * i for i in range(40)], fps=12)
    with pytest.raises(
        ObservationError,
        match=r"does not have its frames at 10 Hz.* frame 2 should be at 0\.2 s, the nearest is at 0\.1667 s",
    ):
        read(f"{copy}@episode:0@camera:top")


def test_paths_that_lead_out_of_the_dataset_are_refused(copy):
    info = json.loads((copy / "meta/info.json").read_text()) | {"data_path": "../../secret.parquet"}
    (copy / "meta/info.json").write_text(json.dumps(info))

    with pytest.raises(ObservationError, match="leads outside the dataset"):
        read(f"{copy}@camera:top")


def test_a_snapshot_in_the_hub_s_cache_is_links_to_blobs(dataset, tmp_path):
    snapshot = tmp_path / "snapshots" / "abc"
    for number, file in enumerate(sorted(p for p in dataset.rglob("*") if p.is_file())):
        blob = tmp_path / "blobs" / str(number)
        blob.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, blob)
        link = snapshot / file.relative_to(dataset)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)

    assert toy.shown(read(f"{snapshot}@episode:2@start:9@camera:top").frames, 2) == [9, 10, 11, 12, 13]


def test_pictures_inside_the_rows_are_a_camera_too(copy):
    info = json.loads((copy / "meta/info.json").read_text())
    info["features"]["observation.images.snap"] = {"dtype": "image", "shape": [4, 6, 3]}
    (copy / "meta/info.json").write_text(json.dumps(info))
    path, cells = copy / "data/chunk-000/file-001.parquet", []
    for index in range(toy.LENGTHS[2]):
        stream = io.BytesIO()
        Image.new("RGB", (6, 4), (index, 0, 0)).save(stream, "PNG")
        cells.append({"bytes": stream.getvalue(), "path": None})
    pq.write_table(pq.read_table(path).append_column("observation.images.snap", pa.array(cells)), path)

    seen = read(f"{copy}@episode:2@start:4@camera:snap")

    assert seen.frames.shape == (5, 4, 6, 3)
    assert seen.frames[:, 0, 0, 0].tolist() == [4, 5, 6, 7, 8]


def test_three_cameras_make_the_canvas_that_cosmos_was_trained_on(dataset):
    rng = np.random.default_rng(0)
    wrist, left, right = rng.integers(0, 255, (3, 2, 4, 6, 3), dtype=np.uint8)

    canvas = concat_view(wrist, left, right)

    assert canvas.shape == (2, 6, 6, 3)
    np.testing.assert_array_equal(canvas[:, :4], wrist)
    assert canvas[1, 4, 1, 2] == round(left[1, 0:2, 2:4, 2].mean() + 1e-6)
    assert abs(int(canvas[0, 5, 3, 0]) - right[0, 2:4, 0:2, 0].mean()) <= 0.5
    with pytest.raises(ObservationError, match="one even size"):
        concat_view(wrist[:, :3], left, right)
    assert read(f"{dataset}@camera:wrist+top+top").frames.shape[1:] == (toy.HEIGHT * 3 // 2, toy.WIDTH, 3)


def test_inverse_dynamics_needs_the_whole_window(dataset):
    with pytest.raises(ObservationError, match=r"@episode:0 has 4 frames to give; condition=inverse_dynamics needs 5"):
        read(f"{dataset}@start:8@camera:top", mode="inverse_dynamics")


def test_relative_folders_become_absolute(dataset):
    address = LeRobotSource().absolute(f"{dataset.name}@episode:1@camera:top", dataset.parent)

    assert address == f"{dataset}@episode:1@camera:top"


@pytest.mark.slow
def test_the_real_droid_episode_reads_frame_exactly(droid):
    camera = "observation.image.exterior_image_2_left"
    video = read_clip(droid / f"videos/{camera}/chunk-000/file-000.mp4", start=700, num_frames=17)

    seen = read(f"{droid}@start:700", num_frames=17, fps=15.0, domain="droid_lerobot")

    np.testing.assert_array_equal(seen.frames, video.frames_FHWC)
    assert seen.task is None  # its annotation is blank: " |  | "
    with pytest.raises(ObservationError, match=r"there is observation\.image\.exterior_image_2_left \(declared"):
        read(f"{droid}@camera:wrist_image_left")


def test_it_keeps_the_rules_of_a_plugin(dataset):
    testing.check_plugin(strands_diffusers_lerobot)
    testing.check_source(
        LeRobotSource, f"{dataset}@episode:0@camera:top", ObservationRequest(5, float(toy.FPS), "pusht", "policy")
    )
