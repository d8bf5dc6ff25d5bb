"""Sound, images and meshes on disk, and what happens where nothing can be written."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from strands_diffusers.errors import OutputError
from strands_diffusers.outputs.serializers import ImageSerializer, MeshSerializer, SoundSerializer, VideoSerializer
from strands_diffusers.results import Mesh, Rollout


def with_sound(sound_NC: np.ndarray, sampling_rate: int | None = 48_000) -> Rollout:
    return Rollout(mode="text", sound=sound_NC, sampling_rate=sampling_rate)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_sound_reads_back_bit_for_bit_beyond_one_too(tmp_path, channels):
    sound_NC = np.random.default_rng(1).normal(0, 1, (4_801, channels)).astype(np.float32)

    [artifact] = SoundSerializer().save(with_sound(sound_NC), tmp_path)

    stored_NC, rate = soundfile.read(artifact.path, dtype="float32", always_2d=True)
    assert np.abs(sound_NC).max() > 1
    assert rate == 48_000
    assert soundfile.info(artifact.path).subtype == "FLOAT"
    np.testing.assert_array_equal(stored_NC, sound_NC)
    assert artifact.details == {"shape": [4_801, channels], "dtype": "float32", "sampling_rate": 48_000}


def test_equal_sound_makes_equal_files(tmp_path):
    sound_NC = np.random.default_rng(2).normal(0, 0.1, (100, 2)).astype(np.float32)
    first = SoundSerializer().save(with_sound(sound_NC), tmp_path)[0].path.read_bytes()
    second = SoundSerializer().save(with_sound(sound_NC[::1].copy()), tmp_path)[0].path.read_bytes()

    assert first == second
    assert struct.unpack("<I", first[4:8])[0] == len(first) - 8


@pytest.mark.parametrize(
    ("rollout", "said"),
    [
        (with_sound(np.zeros((100, 2))), r"float32 array \[N, C\], got float64"),
        (with_sound(np.zeros(100, np.float32)), r"shape \[N, C\]"),
        (with_sound(np.zeros((0, 2), np.float32)), "at least one value"),
        (with_sound(np.zeros((2, 48_000), np.float32)), "at most 32 channels, got \\(2, 48000\\)"),
        (with_sound(np.full((10, 2), np.inf, np.float32)), "NaN or inf in 20 of 20"),
        (with_sound(np.zeros((10, 2), np.float32), None), "rate above 0 Hz, got None"),
        (with_sound(np.zeros((10, 2), np.float32), 44_100.5), "whole number of Hz"),
    ],
)
def test_what_is_not_sound_is_refused_and_nothing_is_written(tmp_path, rollout, said):
    with pytest.raises(OutputError, match=said):
        SoundSerializer().save(rollout, tmp_path)
    assert not list(tmp_path.iterdir())


def test_images_read_back_pixel_for_pixel(tmp_path):
    images_nHWC = np.random.default_rng(3).integers(0, 256, (3, 33, 47, 3), np.uint8)

    artifacts = ImageSerializer().save(Rollout(mode="text", image=images_nHWC), tmp_path)

    assert [a.path.name for a in artifacts] == ["image_00.png", "image_01.png", "image_02.png"]
    for artifact, image_HWC in zip(artifacts, images_nHWC, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(artifact.path)), image_HWC)


@pytest.mark.parametrize("shape", [(33, 47, 3), (1, 33, 47, 4), (1, 3, 33, 47), (0, 33, 47, 3)])
def test_what_is_not_an_image_is_refused_and_nothing_is_written(tmp_path, shape):
    with pytest.raises(OutputError, match=r"\[F, H, W, 3\]"):
        ImageSerializer().save(Rollout(mode="text", image=np.zeros(shape, np.uint8)), tmp_path)
    assert not list(tmp_path.iterdir())


def read_ply(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Parse a binary PLY by its header, field by field."""
    content = path.read_bytes()
    header, body = content.split(b"end_header\n", 1)
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    counts = {line.split()[1]: int(line.split()[2]) for line in lines if line.startswith("element")}
    assert [line.split()[1:] for line in lines if line.startswith("property")] == [
        ["float", "x"], ["float", "y"], ["float", "z"], ["list", "uchar", "int", "vertex_indices"],
    ]  # fmt: skip
    vertices = [struct.unpack_from("<3f", body, 12 * i) for i in range(counts["vertex"])]
    faces, offset = [], 12 * counts["vertex"]
    for _ in range(counts["face"]):
        (corners,) = struct.unpack_from("<B", body, offset)
        assert corners == 3
        faces.append(struct.unpack_from("<3i", body, offset + 1))
        offset += 13
    assert offset == len(body)
    return np.array(vertices, np.float32), np.array(faces, np.int32).reshape(-1, 3)


def test_a_mesh_reads_back_exactly(tmp_path):
    vertices_V3 = np.random.default_rng(4).normal(size=(50, 3)).astype(np.float32)
    faces_F3 = np.random.default_rng(5).integers(0, 50, (80, 3), np.int32)

    [artifact] = MeshSerializer().save(Rollout(mode="text", mesh=Mesh(vertices_V3, faces_F3)), tmp_path)

    vertices, faces = read_ply(artifact.path)
    assert artifact.path.name == "mesh.ply"
    np.testing.assert_array_equal(vertices, vertices_V3)
    np.testing.assert_array_equal(faces, faces_F3)
    assert artifact.details["vertices"] == 50
    assert artifact.details["faces"] == 80


def test_a_cloud_without_triangles_is_a_mesh(tmp_path):
    mesh = Mesh(np.ones((4, 3), np.float32), np.zeros((0, 3), np.int32))

    [artifact] = MeshSerializer().save(Rollout(mode="text", mesh=mesh), tmp_path)

    assert len(read_ply(artifact.path)[0]) == 4


POINTS = np.zeros((4, 3), np.float32)


@pytest.mark.parametrize(
    ("mesh", "said"),
    [
        (Mesh(POINTS, np.array([[0, 1, 4]], np.int32)), "name vertices 0 to 4; there are 0 to 3"),
        (Mesh(POINTS, np.array([[-1, 1, 2]], np.int32)), "name vertices -1 to 2"),
        (Mesh(POINTS, np.zeros((2, 4), np.int32)), r"int32 array \[F, 3\]"),
        (Mesh(POINTS, np.zeros((2, 3), np.int64)), r"int32 array \[F, 3\]"),
        (Mesh(np.zeros((4, 2), np.float32), np.zeros((1, 3), np.int32)), r"shape \[V, 3\], got \(4, 2\)"),
        (Mesh(np.full((4, 3), np.nan, np.float32), np.zeros((1, 3), np.int32)), "NaN or inf"),
    ],
)
def test_what_is_not_a_mesh_is_refused_and_nothing_is_written(tmp_path, mesh, said):
    with pytest.raises(OutputError, match=said):
        MeshSerializer().save(Rollout(mode="text", mesh=mesh), tmp_path)
    assert not list(tmp_path.iterdir())


Writer = Callable[[Path], object]
NOISE = np.random.default_rng(6).integers(0, 256, (17, 96, 128, 3), np.uint8)
LOUD = np.random.default_rng(7).normal(size=(60_000, 2)).astype(np.float32)

WRITERS: dict[str, Writer] = {
    "video": lambda folder: VideoSerializer().save(Rollout(mode="text", video=NOISE, fps=5.0), folder),
    "video with sound": lambda folder: VideoSerializer().save(
        Rollout(mode="text", video=NOISE, fps=5.0, sound=LOUD, sampling_rate=48_000), folder
    ),
    "sound": lambda folder: SoundSerializer().save(with_sound(LOUD), folder),
    "image": lambda folder: ImageSerializer().save(Rollout(mode="text", image=NOISE), folder),
    "mesh": lambda folder: MeshSerializer().save(
        Rollout(mode="text", mesh=Mesh(LOUD[:, [0, 1, 1]].copy(), np.zeros((1, 3), np.int32))), folder
    ),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_is_one_line_and_leaves_nothing_behind(full_folder, kind):
    with pytest.raises(OutputError, match=r"^cannot write .*: the disk is full; free some space"):
        WRITERS[kind](full_folder)
    assert not list(full_folder.iterdir())


@pytest.mark.parametrize("kind", WRITERS)
def test_a_folder_that_is_not_there_is_one_line(tmp_path, kind):
    with pytest.raises(OutputError, match=r"^cannot write .*missing.*: its folder does not exist\.$"):
        WRITERS[kind](tmp_path / "missing")


@pytest.mark.parametrize("kind", WRITERS)
def test_a_folder_that_may_not_be_written_to_is_one_line(protected_folder, kind):
    with pytest.raises(
        OutputError, match=r"^cannot write .*: (permission denied|the file system is read-only); choose "
    ):
        WRITERS[kind](protected_folder)
    assert not list(protected_folder.iterdir())
