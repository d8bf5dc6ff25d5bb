import os
import struct
from pathlib import Path

import numpy as np
import pytest
from observing import ffmpeg, indexes, one_line, striped

from strands_diffusers.errors import ObservationError
from strands_diffusers.observations.media import frame_times, read_clip

REAL = [
    ("cosmos3_nano/rollout_policy_1.mp4", (17, 480, 640, 3), 5.0, 17),
    ("nvidia_cosmos/umi.mp4", (17, 256, 256, 3), 20.0, 33),
    ("nvidia_cosmos/av_0.mp4", (17, 480, 832, 3), 10.0, 61),
    (
        "nvidia_cosmos/droid_lerobot_example/videos/observation.image.exterior_image_2_left/chunk-000/file-000.mp4",
        (17, 360, 640, 3),
        15.0,
        722,
    ),
]


@pytest.mark.parametrize(("file", "shape", "fps", "total"), REAL)
def test_a_real_clip_is_read_frame_for_frame(file, shape, fps, total, data):
    clip = read_clip(data / file, num_frames=17)

    assert clip.frames_FHWC.dtype == np.uint8
    assert (clip.frames_FHWC.shape, clip.fps, clip.even) == (shape, fps, True)
    assert clip.frames_FHWC.tobytes() == ffmpeg(
        "-i", data / file, "-frames:v", "17", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"
    )
    np.testing.assert_allclose(frame_times(data / file), np.arange(total) / fps, atol=1e-3)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov", "clip.mkv"])
def test_a_lossless_clip_comes_back_bit_for_bit(name, write_clip):
    np.testing.assert_array_equal(read_clip(write_clip(name)).frames_FHWC, striped(17))


@pytest.mark.parametrize("name", ["clip.webm", "clip.avi", "clip.gif"])
def test_every_container_gives_all_frames_in_order(name, write_clip):
    clip = read_clip(write_clip(name))

    assert indexes(clip.frames_FHWC) == list(range(17))
    assert (clip.fps, clip.even) == (5.0, True)


def test_av1_is_decoded(write_clip):
    encoders = ffmpeg("-hide_banner", "-encoders").decode()
    codec = "libsvtav1" if "libsvtav1" in encoders else "libaom-av1"
    if codec not in encoders:
        pytest.skip("this ffmpeg can decode AV1 but not encode it")
    speed = ["-cpu-used", "8"] if codec == "libaom-av1" else []
    path = write_clip("clip.mp4", 17, "5", "-c:v", codec, "-crf", "20", *speed)

    assert indexes(read_clip(path).frames_FHWC) == list(range(17))


@pytest.mark.parametrize(
    ("start", "num_frames", "stride", "expected"),
    [
        (0, 5, 1, [0, 1, 2, 3, 4]),
        (12, 17, 1, [12, 13, 14, 15, 16]),
        (3, 4, 4, [3, 7, 11, 15]),
        (16, 1, 1, [16]),
        (1, None, 6, [1, 7, 13]),
    ],
)
def test_start_number_and_stride_choose_exact_frames(start, num_frames, stride, expected, write_clip):
    clip = read_clip(write_clip(), start, num_frames, stride)

    assert indexes(clip.frames_FHWC) == expected
    assert clip.fps == pytest.approx(5.0 / stride)


def test_a_rate_that_is_no_whole_number_is_exact(write_clip):
    assert read_clip(write_clip("clip.mp4", 17, "30000/1001")).fps == pytest.approx(30000 / 1001, abs=1e-9)


def test_uneven_frames_are_neither_repeated_nor_dropped_but_reported(write_clip, tmp_path):
    uneven = tmp_path / "uneven.mkv"
    ffmpeg(
        "-i", write_clip(), "-vf", "select='not(between(n,5,9))'", "-fps_mode", "passthrough", "-c:v", "ffv1", uneven
    )

    clip = read_clip(uneven)

    assert indexes(clip.frames_FHWC) == [0, 1, 2, 3, 4, *range(10, 17)]
    assert not clip.even


def test_a_rotation_tag_is_applied(write_clip, tmp_path):
    rotated = tmp_path / "rotated.mp4"
    ffmpeg("-display_rotation", "90", "-i", write_clip(), "-c", "copy", rotated)

    np.testing.assert_array_equal(read_clip(rotated).frames_FHWC, np.rot90(striped(17), axes=(1, 2)))


def test_a_name_that_looks_like_an_option_or_a_protocol_is_a_name(write_clip, tmp_path, monkeypatch):
    path = write_clip("-we:ird @name.mp4")
    monkeypatch.chdir(tmp_path)

    assert len(read_clip(Path(path.name)).frames_FHWC) == 17


def test_what_a_caller_does_to_the_frames_stays_with_the_caller(write_clip):
    path = write_clip()
    read_clip(path).frames_FHWC[:] = 0

    np.testing.assert_array_equal(read_clip(path).frames_FHWC, striped(17))


def test_a_file_that_changed_is_read_again(write_clip):
    path = write_clip()
    assert len(read_clip(path).frames_FHWC) == 17
    write_clip("clip.mp4", 9)

    assert len(read_clip(path).frames_FHWC) == 9


# ------------------------------------------------------------------------------------------------------- bad clips


@pytest.mark.parametrize(
    "name", ["clip.mp4", "faststart.mp4", "clip.mov", "clip.webm", "clip.mkv", "clip.avi", "clip.gif"]
)
@pytest.mark.parametrize("share", [0.03, 0.3, 0.7, 0.97])
def test_a_truncated_clip_is_refused_never_shortened(name, share, write_clip):
    path = write_clip(name, 17, "5", *(["-movflags", "+faststart"] if name == "faststart.mp4" else []))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])

    with pytest.raises(ObservationError, match="truncated") as error:
        read_clip(path)

    assert path.name in one_line(error)


def packet_ends(whole: bytes, suffix: str) -> list[int]:
    if suffix == ".mp4":
        sizes, offsets = whole.index(b"stsz"), whole.index(b"stco")
        (count,) = struct.unpack(">I", whole[sizes + 12 : sizes + 16])
        (offset,) = struct.unpack(">I", whole[offsets + 12 : offsets + 16])
        lengths = struct.unpack(f">{count}I", whole[sizes + 16 : sizes + 16 + 4 * count])
        return [offset + sum(lengths[: i + 1]) for i in range(count - 1)]
    mark = {".avi": b"00dc", ".gif": b"\x21\xf9\x04"}[suffix]
    return [i for i in range(len(whole)) if whole.startswith(mark, i)][1:17]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi", "clip.gif"])
def test_a_clip_cut_exactly_between_two_frames_is_refused(name, write_clip):
    path = write_clip(name, 17, "5", *(["-movflags", "+faststart"] if name.endswith("mp4") else []))
    whole = path.read_bytes()
    ends = packet_ends(whole, path.suffix)
    assert len(ends) == 16
    for end in (ends[3], ends[-1]):
        path.write_bytes(whole[:end])
        with pytest.raises(ObservationError, match="truncated"):
            read_clip(path)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm", "clip.avi"])
def test_a_clip_with_damaged_bytes_is_refused(name, write_clip):
    options = ["-movflags", "+faststart", "-c:v", "libx264"] if name.endswith("mp4") else []
    path = write_clip(name, 17, "5", *options)
    whole = bytearray(path.read_bytes())
    middle, length = len(whole) // 2, len(whole) // 8
    whole[middle : middle + length] = np.random.default_rng(1).bytes(length)
    path.write_bytes(whole)

    with pytest.raises(ObservationError, match="damaged") as error:
        read_clip(path)

    one_line(error)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"this is a text, not a video\n" * 40, "not a clip"),
        (b"\0" * 4096, "not a clip"),
        (b"<!DOCTYPE html><html>404</html>", "not a clip"),
    ],
)
def test_a_file_that_is_no_clip_is_named_with_what_is_accepted(content, words, tmp_path):
    path = tmp_path / "robot.mp4"
    path.write_bytes(content)

    with pytest.raises(ObservationError, match=words) as error:
        read_clip(path)

    assert str(path) in one_line(error)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(ObservationError, match="does not exist"):
        read_clip(tmp_path / "none.mp4")
    with pytest.raises(ObservationError, match="is not a file"):
        read_clip(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_says_so(write_clip):
    path = write_clip()
    path.chmod(0)

    with pytest.raises(ObservationError, match="Permission denied"):
        read_clip(path)


def test_a_file_with_sound_only_holds_no_video_stream(tmp_path):
    path = tmp_path / "sound.mp4"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", path)

    with pytest.raises(ObservationError, match="no video stream") as error:
        read_clip(path)

    assert "mp4, webm" in one_line(error)


def test_a_video_without_frames_is_refused(tmp_path):
    path = tmp_path / "none.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=duration=1", "-frames:v", "0", "-c:v", "libx264", path)

    with pytest.raises(ObservationError) as error:
        read_clip(path)

    one_line(error)


def test_a_playlist_in_disguise_opens_no_other_file(write_clip, tmp_path):
    write_clip("secret.mp4")
    path = tmp_path / "list.mp4"
    path.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with pytest.raises(ObservationError, match="not a clip"):
        read_clip(path)
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nsecret.mp4\n#EXT-X-ENDLIST\n")
    with pytest.raises(ObservationError, match="not a clip"):
        read_clip(path)


def test_a_start_beyond_the_end_says_how_long_the_clip_is(write_clip):
    with pytest.raises(ObservationError, match=r"has no frame 17: it has 17 frames\.$"):
        read_clip(write_clip(), start=17)
