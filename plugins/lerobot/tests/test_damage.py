"""Datasets that contradict themselves or are damaged: refused with the episode and both numbers, never the neighbour's frames."""

import copy as copying
import io
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from strands_diffusers_lerobot.source import LeRobotSource

from strands_diffusers import ObservationRequest
from strands_diffusers.cli.stats import stats
from strands_diffusers.errors import ObservationError, StrandsDiffusersError

EPISODES = "meta/episodes/chunk-000/file-000.parquet"
TOP = f"videos/{toy.TOP}"


def read(address, mode="policy"):
    return LeRobotSource().read(str(address), ObservationRequest(5, float(toy.FPS), "pusht", mode))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    pixels = [512 * np.random.default_rng(n).random((n, 2)).astype(np.float32) for n in toy.LENGTHS]
    return toy.write_v3(tmp_path_factory.mktemp("v3") / "set", {"action": pixels})


@pytest.fixture
def copy(dataset, tmp_path):
    return shutil.copytree(dataset, tmp_path / "set")


def change(root, file, **columns):
    """Write other values into columns of a parquet file; `{row: value}` for single rows, None takes a column out."""
    table = pq.read_table(root / file).to_pylist()
    for name, values in columns.items():
        for row, cells in enumerate(table):
            if values is None:
                cells.pop(name, None)
            elif not isinstance(values, dict):
                cells[name] = values
            elif row in values:
                cells[name] = values[row]
    pq.write_table(pa.Table.from_pylist(table), root / file)


def inform(root, **values):
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | values))


# ------------------------------------------------------------------------------------- what the dataset says twice

CONTRADICTIONS = {
    "the time of the episode before": (
        {f"{TOP}/from_timestamp": {1: 0.0}, f"{TOP}/to_timestamp": {1: 2.0}},
        r"episode 1 begins at 0 s, and episode 0 ends at 1\.2 s of the same file",
    ),
    "the file of another episode": (
        {f"{TOP}/file_index": {2: 0}},
        r"episode 2 begins at 0 s, and episode 1 ends at 3\.2 s of the same file",
    ),
    "two episodes in turn": (
        {f"{TOP}/from_timestamp": {0: 2.0, 1: 0.0}, f"{TOP}/to_timestamp": {0: 3.2, 1: 2.0}},
        r"episode 1 begins at 0 s, and episode 0 ends at 3\.2 s",
    ),
    "one frame late": (
        {f"{TOP}/from_timestamp": {1: 1.3}, f"{TOP}/to_timestamp": {1: 3.3}},
        r"file-000\.mp4 ends 1 frames before episode 1 does",
    ),
    "half a frame late": (
        {f"{TOP}/from_timestamp": {1: 1.25}, f"{TOP}/to_timestamp": {1: 3.25}},
        r"frame 0 should be at 1\.25 s, the nearest is at 1\.[23] s",
    ),
    "a span that is not the length": (
        {f"{TOP}/to_timestamp": {1: 4.2}},
        r"episode 1 lasts from 1\.2 to 4\.2 s, and has 20 frames at 10 Hz",
    ),
    "a length that is not the rows": ({"length": {1: 18}}, r"total_frames 47, its episodes make 45"),
    "rows that are not the length": ({"dataset_to_index": {1: 31}}, r"episode 1 has rows 12 to 30, and the length 20"),
    "rows of the episode before": (
        {"dataset_from_index": {1: 2}, "dataset_to_index": {1: 22}},
        r"episode 1 begins at row 2, and the episode before it ends at row 11",
    ),
    "one number twice": ({"episode_index": {1: 0}}, "lists episode 0 twice"),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_metadata_that_contradicts_itself_is_refused_with_both_numbers(what, copy):
    columns, message = CONTRADICTIONS[what]
    change(copy, EPISODES, **columns)

    with pytest.raises(ObservationError, match=message):
        read(f"{copy}@episode:1@camera:top")


def test_a_video_of_another_episode_is_refused_by_its_length(copy):
    for file in (0, 1):
        toy.video(copy / f"{TOP}/chunk-000/file-00{file}.mp4", [60 + n for n in range(40)])

    with pytest.raises(ObservationError, match="holds 40 frames, and meta/ counts 32 in the file of episode 1"):
        read(f"{copy}@episode:1@camera:top")
    assert toy.shown(read(f"{copy}@episode:1@camera:wrist").frames, 1) == [0, 1, 2, 3, 4]


def test_a_video_whose_first_frame_starts_late_is_refused(copy, tmp_path):
    path = copy / f"{TOP}/chunk-000/file-001.mp4"
    toy.ffmpeg("-itsoffset", "0.1", "-i", path, "-c", "copy", tmp_path / "late.mp4")
    shutil.copyfile(tmp_path / "late.mp4", path)

    with pytest.raises(ObservationError, match=r"frame 0 should be at 0 s, the nearest is at 0\.1 s"):
        read(f"{copy}@episode:2@camera:top")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"timestamp": {14: 0.35}}, r"row 2 of episode 1 is of 0\.35 s; at 10 Hz it is of 0\.2 s"),
        ({"frame_index": {14: 3}}, "episode 1 should have rows 0 to 19; .* holds 20 of them, in another order"),
        ({"index": {12: 13}}, "episode 1 begins at row 12 in meta/, and at row 13 in data"),
        ({"task_index": {12: 9}}, "frame 0 of episode 1 has the task 9; meta/tasks knows 0 to 1"),
        ({"task_index": None, "frame_index": None}, "has no column 'frame_index'"),
        ({"frame_index": {14: None}}, "'frame_index' holds an empty or infinite value"),
        ({"frame_index": "two"}, "'frame_index' holds string, not numbers"),
    ],
)
def test_rows_that_are_not_where_meta_says_are_refused(columns, message, copy):
    change(copy, "data/chunk-000/file-000.parquet", **columns)

    with pytest.raises(ObservationError, match=message):
        read(f"{copy}@episode:1@camera:top")


def test_a_data_file_of_another_episode_is_refused(tmp_path):
    root = toy.write_v2(tmp_path / "set")
    change(root, "data/chunk-000/episode_000001.parquet", episode_index=2)

    with pytest.raises(ObservationError, match=r"episode_000001\.parquet should hold episode 1 and holds episode 2"):
        read(f"{root}@episode:1@camera:top")


def test_a_video_of_another_size_is_refused(copy):
    described = features(copy)
    described[toy.TOP]["shape"] = [64, 48, 3]
    inform(copy, features=described)

    with pytest.raises(ObservationError, match=r"gives \[32, 48, 3\] in episode 1, and \[64, 48, 3\] in meta/info"):
        read(f"{copy}@episode:1@camera:top")


def test_metadata_is_read_and_checked_once(copy, monkeypatch):
    read(f"{copy}@episode:1@camera:top")
    opened = []
    monkeypatch.setattr(
        pq, "read_table", lambda path, *a, real=pq.read_table, **k: (opened.append(str(path)), real(path, *a, **k))[1]
    )

    read(f"{copy}@episode:0@camera:top")

    assert [path for path in opened if "meta/episodes" in path] == []
    change(copy, EPISODES, length={1: 18})
    with pytest.raises(ObservationError, match="its episodes make 45"):
        read(f"{copy}@episode:0@camera:top")


# ------------------------------------------------------------------------------------------------------------- tasks


def write_tasks(root, **columns):
    pq.write_table(pa.table(columns), root / "meta/tasks.parquet")


def test_a_table_of_tasks_with_one_more_column_keeps_the_frame_s_task(copy):
    write_tasks(copy, task_index=[0, 1], task=["push", "pull"], language=["en", "en"])

    assert read(f"{copy}@episode:1@start:5@camera:top").task == "pull"
    write_tasks(copy, language=["en", "en"], task_index=[0, 1], __index_level_0__=["push", "pull"])
    assert read(f"{copy}@episode:1@start:5@camera:top").task == "pull"


def test_a_task_without_words_is_no_task(copy):
    write_tasks(copy, task_index=[0, 1], task=["push", None])

    assert read(f"{copy}@episode:1@start:5@camera:top").task is None
    write_tasks(copy, task_index=[0, 1], task=pa.array([None, "pull"], pa.string()))
    assert read(f"{copy}@episode:0@camera:top").task == "push"  # as meta/episodes says


def test_a_line_separator_inside_a_task_ends_no_line(tmp_path):
    root = toy.write_v2(tmp_path / "set")
    for stem in ("tasks", "episodes"):
        path = root / f"meta/{stem}.jsonl"
        path.write_text(path.read_text().replace('"push"', '"push\u2028now"'), encoding="utf-8")

    assert read(f"{root}@episode:0@camera:top").task == "push\u2028now"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"task_index": [0, 1], "task": ["lift", "drop"]}, "has the task 'lift'; meta/episodes lists 'push', 'pull'"),
        ({"task_index": [0, 0], "task": ["push", "pull"]}, "one number to two tasks"),
        ({"task_index": [0, None], "task": ["push", "pull"]}, "the task None 'pull'"),
        ({"task_index": [0, 1], "task": [3, 4]}, "the task 0 3; a number and a text belong there"),
        ({"task": ["push", "pull"]}, "tasks.parquet cannot be read"),
    ],
)
def test_tasks_that_cannot_be_are_refused(columns, message, copy):
    write_tasks(copy, **columns)

    with pytest.raises(ObservationError, match=message):
        read(f"{copy}@episode:1@camera:top")


def test_without_a_table_of_tasks_one_task_is_clear_and_two_are_not(copy):
    (copy / "meta/tasks.parquet").unlink()

    assert read(f"{copy}@episode:0@camera:top").task == "push"
    with pytest.raises(ObservationError, match="episode 1 has 2 tasks and meta/tasks is missing"):
        read(f"{copy}@episode:1@camera:top")
    assert read(f"{copy}@episode:1@camera:top@task:lift").task == "lift"


# ----------------------------------------------------------------------------------------------------------- cameras


def test_two_cameras_of_one_short_name_are_both_named(copy):
    info = json.loads((copy / "meta/info.json").read_text())
    info["features"]["observation.images.wrist.top"] = info["features"][toy.WRIST]
    (copy / "meta/info.json").write_text(json.dumps(info))
    rows = pq.read_table(copy / EPISODES).to_pylist()
    for row in rows:
        row |= {k.replace(toy.WRIST, "observation.images.wrist.top"): v for k, v in row.items() if toy.WRIST in k}
    pq.write_table(pa.Table.from_pylist(rows), copy / EPISODES)
    shutil.copytree(copy / f"videos/{toy.WRIST}", copy / "videos/observation.images.wrist.top")

    with pytest.raises(
        ObservationError, match=r"has 2 cameras 'top': .*images\.top, .*wrist\.top\. Type the full name"
    ):
        read(f"{copy}@camera:top")
    assert toy.shown(read(f"{copy}@camera:observation.images.wrist.top").frames, 0) == [0, 1, 2, 3, 4]


def test_a_depth_map_is_no_picture(copy):
    features = json.loads((copy / "meta/info.json").read_text())["features"]
    features[toy.TOP]["info"] = {"video.is_depth_map": True}
    inform(copy, features=features)

    with pytest.raises(ObservationError, match="is a depth map"):
        read(f"{copy}@camera:top")


def cell(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


GREY = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
EXIF = Image.Exif()
EXIF[0x0112] = 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (cell(Image.fromarray(GREY.astype(np.uint16) * 257)), "16 bits a channel"),
        (cell(Image.fromarray(np.dstack([GREY] * 3 + [GREY]))), "transparent pixels"),
        (cell(Image.fromarray(GREY).convert("CMYK"), "JPEG"), "mode CMYK"),
        (cell(Image.fromarray(GREY))[:50], "truncated or damaged"),
        (b"no picture", "is not an image"),
        (cell(Image.fromarray(GREY[:3])), r"changes its size from \(4, 6, 3\) to \(3, 6, 3\)"),
    ],
)  # fmt: skip
def test_pictures_in_rows_obey_the_rules_of_files(content, message, copy):
    in_rows(copy, [cell(Image.fromarray(GREY))] * 2 + [content] * 13)

    with pytest.raises(ObservationError, match=message) as error:
        read(f"{copy}@episode:2@camera:snap")
    if "size" not in message:
        assert "observation.images.snap in row 2 of episode 2" in str(error.value)


def test_pictures_in_rows_are_turned_as_their_orientation_says(copy):
    in_rows(copy, [cell(Image.fromarray(GREY), exif=EXIF)] * 15)

    np.testing.assert_array_equal(read(f"{copy}@episode:2@camera:snap").frames[0, ..., 0], np.rot90(GREY, -1))


def in_rows(root, contents):
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.images.snap"] = {"dtype": "image", "shape": [4, 6, 3]}
    inform(root, features=info["features"])
    path = root / "data/chunk-000/file-001.parquet"
    cells = pa.array([{"bytes": content, "path": None} for content in contents])
    pq.write_table(pq.read_table(path).append_column("observation.images.snap", cells), path)


# ------------------------------------------------------------------------------------------------------ damaged files


def test_copies_of_editors_and_systems_beside_the_files_are_left_alone(copy):
    for folder in ("data/chunk-000", "meta/episodes/chunk-000"):
        (copy / folder / "._file-000.parquet").write_bytes(b"\0\5\x16\7 a resource fork")
        (copy / folder / ".ipynb_checkpoints").mkdir()
        shutil.copyfile(
            copy / folder / "file-000.parquet", copy / folder / ".ipynb_checkpoints/file-000-checkpoint.parquet"
        )

    assert toy.shown(read(f"{copy}@episode:1@camera:top").frames, 1) == [0, 1, 2, 3, 4]
    assert sum(map(len, LeRobotSource().action_rows(f"{copy}@actions:action@units:physical", "pusht").pieces)) == 47


@pytest.mark.parametrize(
    "file", ["meta/info.json", EPISODES, "meta/tasks.parquet", "data/chunk-000/file-000.parquet", f"{TOP}/chunk-000/file-000.mp4"]
)  # fmt: skip
def test_a_pointer_of_large_file_storage_is_named_as_one(file, copy):
    (copy / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12345\n")

    with pytest.raises(ObservationError, match=r"is a pointer of Git LFS.*git lfs pull"):
        read(f"{copy}@camera:top")


ODD = (
    st.none() | st.booleans() | st.integers(-5, 99) | st.just(10**400) | st.floats() | st.text(max_size=3) | st.just([])
    | st.just({})
)  # fmt: skip
TEMPLATES = st.sampled_from(["{chunk_index.__class__}", "{chunk_index:999999999d}", "{", "{0}", "{video_key!r}"])
INFO = st.sampled_from(
    ["codebase_version", "fps", "features", "data_path", "video_path", "chunks_size", "total_episodes", "total_frames",
     "strands_diffusers"]
) | st.tuples(
    st.just("features"), st.sampled_from([toy.TOP, "action"]), st.sampled_from(["dtype", "shape", "info", "names"])
)  # fmt: skip


@pytest.mark.slow
@settings(derandomize=True, max_examples=40, deadline=None)
@given(INFO, ODD | TEMPLATES, st.booleans())
def test_any_value_in_info_json_is_used_or_refused_in_one_line(dataset, tmp_path_factory, key, value, gone):
    info = copying.deepcopy(json.loads((dataset / "meta/info.json").read_text()))
    place = info if isinstance(key, str) else info["features"][key[1]]
    last = key if isinstance(key, str) else key[2]
    place[last] = value
    if gone:
        del place[last]
    root = linked(dataset, tmp_path_factory, "meta/info.json", json.dumps(info).encode())

    refused_in_one_line(root)


@pytest.mark.slow
@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    st.sampled_from(["episode_index", "length", "tasks", "dataset_from_index", "dataset_to_index", "data/file_index",
                     f"{TOP}/chunk_index", f"{TOP}/file_index", f"{TOP}/from_timestamp", f"{TOP}/to_timestamp"]),
    ODD.filter(lambda value: value not in ({}, 10**400)), st.booleans(),
)  # fmt: skip
def test_any_value_in_the_episodes_is_used_or_refused_in_one_line(dataset, tmp_path_factory, column, value, gone):
    table = pq.read_table(dataset / EPISODES)
    place = table.schema.names.index(column)
    table = table.remove_column(place) if gone else table.set_column(place, column, pa.array([value] * len(table)))
    stream = io.BytesIO()
    pq.write_table(table, stream)

    refused_in_one_line(linked(dataset, tmp_path_factory, EPISODES, stream.getvalue()))


@pytest.mark.slow
@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    st.sampled_from([EPISODES, "meta/tasks.parquet", "data/chunk-000/file-000.parquet", "meta/info.json"]),
    st.floats(0, 1),
    st.binary(max_size=8),
)
def test_any_damage_to_a_file_is_harmless_or_refused_in_one_line(dataset, tmp_path_factory, file, place, noise):
    content = bytearray((dataset / file).read_bytes())
    at = int(place * len(content))
    content[at : at + len(noise)] = noise
    refused_in_one_line(linked(dataset, tmp_path_factory, file, bytes(content if noise else content[:at])))


def linked(dataset, tmp_path_factory, file, content):
    """The dataset with one file of another content; the others are links."""
    root = tmp_path_factory.mktemp("set")
    for path in dataset.rglob("*"):
        if path.is_file():
            (root / path.relative_to(dataset)).parent.mkdir(parents=True, exist_ok=True)
            (root / path.relative_to(dataset)).symlink_to(path)
    (root / file).unlink()
    (root / file).write_bytes(content)
    return root


def refused_in_one_line(root):
    """Reading gives episode 1's very frames, or one line; never a traceback, never the neighbour's frames."""
    text = ""
    try:
        seen = read(f"{root}@episode:1@start:3@camera:top")
    except StrandsDiffusersError as error:
        text = str(error)
    assert "\n" not in text
    assert len(text) < 900
    assert text or toy.shown(seen.frames, 1) == [3, 4, 5, 6, 7]


# --------------------------------------------------------------------------------------------------------- statistics

DAMAGE = {
    "a truncated episodes file": lambda root: (root / EPISODES).write_bytes((root / EPISODES).read_bytes()[:900]),
    "a null length": lambda root: change(root, EPISODES, length={1: None}),
    "an episode that meta does not list": lambda root: change(root, "data/chunk-000/file-001.parquet", episode_index=7),
    "a missing data file": lambda root: (root / "data/chunk-000/file-001.parquet").unlink(),
    "a length that is not the rows": lambda root: change(root, EPISODES, length={1: 18}) or inform(root, total_frames=45),
    "no table of episodes": lambda root: shutil.rmtree(root / "meta/episodes"),
    "a count of episodes that is not theirs": lambda root: inform(root, total_episodes=2),
    "rows out of time": lambda root: change(root, "data/chunk-000/file-000.parquet", timestamp={3: 9.9}),
    "a column of another width": lambda root: inform(root, features={**features(root), "action": {"dtype": "float32", "shape": [3]}}),
    "a null action": lambda root: change(root, "data/chunk-000/file-000.parquet", action={4: None}),
    "an infinite action": lambda root: change(root, "data/chunk-000/file-000.parquet", action={4: [float("inf"), 1.0]}),
    "an episode that comes twice": lambda root: shutil.copyfile(
        root / "data/chunk-000/file-001.parquet", root / "data/chunk-000/file-002.parquet"),
    "a rate that is none": lambda root: inform(root, fps=True),
    "damaged tasks": lambda root: (root / "meta/tasks.parquet").write_bytes(b"PAR1"),
}  # fmt: skip


def features(root):
    return json.loads((root / "meta/info.json").read_text())["features"]


@pytest.mark.parametrize("what", DAMAGE)
def test_no_statistics_are_written_of_a_damaged_dataset(what, copy, tmp_path):
    DAMAGE[what](copy)

    with pytest.raises(ObservationError) as error:
        stats([f"lerobot:{copy}@actions:action@units:physical", "--domain", "pusht", "--out", str(tmp_path / "out")])

    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_statistics_are_written_of_the_same_dataset_when_it_is_whole(copy, tmp_path):
    arguments = [f"lerobot:{copy}@actions:action@units:physical", "--domain", "pusht", "--out", str(tmp_path / "out")]

    assert stats(arguments) == 0
    assert json.loads((tmp_path / "out/statistics/my_pusht.json").read_text())["rows"] == 47
