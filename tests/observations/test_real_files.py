"""What phones, cameras and editors write: shown as a player shows it, or refused with what makes it readable."""

import io
import shlex
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from observing import attempt, ffmpeg, indexes, one_line, striped
from PIL import Image

from strands_diffusers.errors import ObservationError
from strands_diffusers.observations import media
from strands_diffusers.observations.images import read_folder, read_image
from strands_diffusers.observations.media import frame_times, read_clip

RAW = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x48", "-r", "10", "-i", "-"]


def encode(path, *options, num_frames=6):
    ffmpeg(*RAW, *options, path, pixels=striped(num_frames).tobytes())
    return path


# ------------------------------------------------------------------------------------------------------- still images


def test_of_a_phone_s_jpeg_of_two_images_the_first_is_read(tmp_path):
    first, second = (Image.fromarray(frame) for frame in striped(2))
    first.save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[second])
    first.save(tmp_path / "plain.jpg")

    np.testing.assert_array_equal(read_image(tmp_path / "phone.jpg"), read_image(tmp_path / "plain.jpg"))


def png(**options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(striped(2)[1]).save(stream, "PNG", **options)
    return stream.getvalue()


def test_sixteen_bit_colour_is_refused_not_cut_to_eight(tmp_path):
    ffmpeg(*RAW, "-frames:v", "1", "-pix_fmt", "rgb48be", tmp_path / "deep.png", pixels=striped(1).tobytes())

    with pytest.raises(ObservationError, match="16 bits a channel"):
        read_image(tmp_path / "deep.png")
    with pytest.raises(ObservationError, match="row 3 has 16 bits a channel"):
        read_image((tmp_path / "deep.png").read_bytes(), "row 3")


def test_a_colour_that_means_transparent_is_transparency():
    with pytest.raises(ObservationError, match="transparent"):
        read_image(png(transparency=(10, 10, 10)), "a.png")
    np.testing.assert_array_equal(read_image(png(transparency=(1, 2, 3)), "a.png"), striped(2)[1])


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    st.sampled_from(["PNG", "JPEG", "WEBP", "MPO"]), st.sampled_from(["RGB", "RGBA", "L", "P", "1", "CMYK", "I;16"]),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=3), st.floats(0.2, 1),
)  # fmt: skip
def test_any_damage_to_an_image_gives_rgb_or_one_line(kind, mode, damage, share):
    stream, picture = io.BytesIO(), Image.fromarray(striped(1)[0])
    _, refusal = attempt(lambda: (picture.convert(mode)).save(stream, kind), OSError, ValueError)
    content = bytearray(stream.getvalue() if refusal is None else png())
    for place, noise in damage:
        at = int(place * (len(content) - 1))
        content[at : at + len(noise)] = noise
    pixels, refusal = attempt(
        lambda: read_image(bytes(content[: int(share * len(content))]), "a.png"), ObservationError
    )

    if refusal is None:
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
    else:
        assert refusal.startswith("a.png ")
        assert "\n" not in refusal


def test_a_folder_s_frames_do_not_lead_out_of_it(tmp_path):
    (tmp_path / "frames").mkdir()
    Image.fromarray(striped(1)[0]).save(tmp_path / "secret.png")
    Image.fromarray(striped(1)[0]).save(tmp_path / "frames" / "0.png")
    (tmp_path / "frames" / "1.png").symlink_to("0.png")
    assert len(read_folder(tmp_path / "frames")) == 2

    (tmp_path / "frames" / "2.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ObservationError, match=r"2\.png is a link that leads out of the folder\. Copy") as error:
        read_folder(tmp_path / "frames")
    one_line(error)


# ------------------------------------------------------------------------------------------------------- transparency

HALF = "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='if(lt(X,32),255,0)'"
ALPHA = {
    "a.gif": (f"{HALF},split[a][b];[a]palettegen[p];[b][p]paletteuse",),
    "vp8.webm": (f"{HALF},format=yuva420p", "-c:v", "libvpx", "-auto-alt-ref", "0"),
    "vp9.webm": (f"{HALF},format=yuva420p", "-c:v", "libvpx-vp9"),
    "argb.mov": (f"{HALF},format=argb", "-c:v", "qtrle"),
    "png.mov": (HALF, "-c:v", "png"),
    "png.avi": (HALF, "-c:v", "png"),
    "ffv1.mkv": (f"{HALF},format=yuva444p", "-c:v", "ffv1"),
}


@pytest.mark.parametrize("name", ALPHA)
def test_transparency_is_refused_in_every_container_and_mode(name, tmp_path):
    graph, *options = ALPHA[name]
    path = encode(tmp_path / name, "-vf", graph, *options)

    with pytest.raises(ObservationError, match="transparent pixels") as error:
        read_clip(path)

    assert name in one_line(error)


@pytest.mark.parametrize("name", ["argb.mov", "png.mov", "vp9.webm"])
def test_an_alpha_channel_that_hides_nothing_is_fine(name, tmp_path):
    _, *options = ALPHA[name]
    pixel_format = "yuva420p" if name == "vp9.webm" else "rgba"
    path = encode(
        tmp_path / name, "-vf", f"format={pixel_format}", *options, *(["-pix_fmt", "argb"] * (name == "argb.mov"))
    )

    clip = read_clip(path)

    assert indexes(clip.frames_FHWC) == list(range(6))
    if name != "vp9.webm":
        np.testing.assert_array_equal(clip.frames_FHWC, striped(6))


# ------------------------------------------------------------------------------- what 8-bit square RGB does not show

X265 = ["-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params"]
HDR = "log-level=none:colorprim=bt2020:colormatrix=bt2020nc:transfer="
ODD = {
    "hlg.mp4": ("HDR, HLG", [*X265, f"{HDR}arib-std-b67", "-tag:v", "hvc1"]),
    "pq.mkv": ("HDR, PQ", [*X265, f"{HDR}smpte2084"]),
    "wide.mp4": ("wider gamut", [*X265, f"{HDR}bt709"]),
    "deep.mkv": ("gbrp12le pixels", ["-c:v", "ffv1", "-pix_fmt", "gbrp12le"]),
    "stretched.mp4": (r"pixels that are not square \(4/3\)", ["-vf", "setsar=4/3", "-pix_fmt", "yuv420p"]),
    "interlaced.mp4": (
        "interlaced", ["-vf", "tinterlace=interleave_top", "-flags", "+ilme+ildct", "-x264-params", "tff=1",
                       "-pix_fmt", "yuv420p"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_the_command_in_the_refusal_makes_the_clip_readable(name, tmp_path):
    words, options = ODD[name]
    path = encode(tmp_path / name, *options)

    with pytest.raises(ObservationError, match=words) as error:
        read_clip(path)

    command = one_line(error).partition(": ffmpeg ")[2]
    new = tmp_path / "new.mp4"
    ffmpeg(*[{"CLIP": path, "NEW.mp4": new}.get(word, word) for word in shlex.split(command)])
    height, width = read_clip(new).frames_FHWC.shape[1:3]
    assert (height, width) == (48, 84 if name == "stretched.mp4" else 64)


def test_the_command_for_a_deep_clip_keeps_its_transparency(tmp_path):
    path = encode(tmp_path / "deep.mkv", "-vf", f"{HALF},format=gbrap12le", "-c:v", "ffv1")
    with pytest.raises(ObservationError, match="gbrap12le pixels") as error:
        read_clip(path)

    new = tmp_path / "new.mov"
    command = one_line(error).partition(": ffmpeg ")[2]
    ffmpeg(*[{"CLIP": path, "NEW.mov": new}.get(word, word) for word in shlex.split(command)])

    with pytest.raises(ObservationError, match="transparent pixels"):
        read_clip(new)


def test_a_depth_video_is_no_picture(tmp_path):
    path = encode(tmp_path / "depth.mkv", "-c:v", "ffv1", "-pix_fmt", "gray16le")

    with pytest.raises(ObservationError, match=r"gray16le pixels, .* a depth map is no picture"):
        read_clip(path)


def test_of_two_videos_in_one_file_none_is_chosen(tmp_path):
    path = encode(tmp_path / "one.mkv", "-c:v", "ffv1")
    ffmpeg("-i", path, "-i", path, "-map", "0", "-map", "1", "-c", "copy", tmp_path / "two.mkv")

    with pytest.raises(ObservationError, match=r"holds 2 videos.*-map 0:v:0 -c copy"):
        read_clip(tmp_path / "two.mkv")


def test_words_in_a_title_are_no_facts(tmp_path):
    path = encode(tmp_path / "a.mkv", "-c:v", "ffv1", "-metadata", "title=Stream #0:5: Video: x rotation of 45 degrees")

    np.testing.assert_array_equal(read_clip(path).frames_FHWC, striped(6))


def test_an_odd_angle_is_refused_and_a_mirror_is_applied(tmp_path):
    path = encode(tmp_path / "a.mp4", "-c:v", "libx264rgb", "-crf", "0")
    ffmpeg("-display_rotation", "45", "-i", path, "-c", "copy", tmp_path / "askew.mp4")
    ffmpeg("-display_hflip", "-i", path, "-c", "copy", tmp_path / "mirrored.mp4")

    with pytest.raises(ObservationError, match="turned by 45 degrees"):
        read_clip(tmp_path / "askew.mp4")
    np.testing.assert_array_equal(read_clip(tmp_path / "mirrored.mp4").frames_FHWC, striped(6)[:, :, ::-1])


@pytest.mark.parametrize(
    "options",
    [
        ["-vf", "scale=out_range=pc:out_color_matrix=bt709", "-color_range", "pc", "-colorspace", "bt709"],
        ["-vf", "scale=out_range=tv:out_color_matrix=bt709", "-color_range", "tv", "-colorspace", "bt709"],
        ["-vf", "scale=out_range=pc:out_color_matrix=smpte170m", "-color_range", "pc", "-colorspace", "smpte170m"],
    ],
)
def test_colours_are_those_that_were_seen_whatever_range_and_matrix_carry_them(options, tmp_path):
    colours = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250], [128, 128, 128], [5, 5, 5]], np.uint8)
    frame = np.repeat(np.resize(colours, (1, 8, 3)), 8, axis=1).repeat(48, axis=0)
    path = tmp_path / "a.mp4"
    ffmpeg(*RAW, *options, "-pix_fmt", "yuv444p", "-crf", "0", path, pixels=frame.tobytes() * 3)

    off = np.abs(read_clip(path).frames_FHWC[0].astype(int) - frame)

    assert off.max() <= 3


# --------------------------------------------------------------------------------------------------------------- time


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_a_lossless_trim_has_the_frames_that_a_player_shows(name, tmp_path):
    whole = encode(tmp_path / name, "-c:v", "libx264rgb", "-crf", "0", "-g", "15", "-bf", "2", num_frames=24)
    ffmpeg("-ss", "0.8", "-i", whole, "-c", "copy", tmp_path / f"trim{name}")

    clip = read_clip(tmp_path / f"trim{name}")

    first = 8 if name != "a.mkv" else 0  # Matroska has no edit list: such a trim begins at the key frame
    np.testing.assert_array_equal(clip.frames_FHWC, striped(24)[first:])
    assert (clip.fps, clip.even) == (10.0, True)
    assert len(frame_times(tmp_path / f"trim{name}")) == 24 - first
    if first:
        np.testing.assert_array_equal(read_clip(tmp_path / f"trim{name}", 15, 1).frames_FHWC, striped(24)[23:])
        with pytest.raises(ObservationError, match="has no frame 16: it has 16 frames"):
            read_clip(tmp_path / f"trim{name}", start=16)


def test_frames_are_sought_by_their_own_time_where_a_clip_begins_late(tmp_path):
    encode(tmp_path / "a.mkv", "-c:v", "ffv1")
    ffmpeg("-itsoffset", "0.3", "-i", tmp_path / "a.mkv", "-c", "copy", tmp_path / "late.mkv")

    clip = read_clip(tmp_path / "late.mkv", num_frames=2, from_s=0.55)

    np.testing.assert_allclose(frame_times(tmp_path / "late.mkv"), np.arange(3, 9) / 10)
    np.testing.assert_array_equal(clip.frames_FHWC, striped(6)[3:5])
    assert clip.first_s == pytest.approx(0.6)


def test_packets_that_an_edit_list_hides_are_not_counted_whatever_else_is_said_of_them(tmp_path):
    whole = encode(
        tmp_path / "a.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "24", "-bf", "3", "-b_strategy", "0",
        num_frames=24,
    )  # fmt: skip
    ffmpeg("-ss", "1.5", "-i", whole, "-c", "copy", tmp_path / "trim.mp4")

    np.testing.assert_allclose(frame_times(tmp_path / "trim.mp4"), np.arange(9) / 10, atol=1e-3)
    assert len(read_clip(tmp_path / "trim.mp4").frames_FHWC) == 9


def test_hidden_frames_of_vp8_are_not_counted(tmp_path):
    path = encode(tmp_path / "a.webm", "-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "12", num_frames=24)

    assert len(read_clip(path).frames_FHWC) == 24
    with pytest.raises(ObservationError, match="has no frame 24: it has 24 frames"):
        read_clip(path, start=24)


@pytest.mark.parametrize(("name", "steps_ms"), [("a.mkv", (60, 140)), ("a.gif", (60, 140)), ("a.mkv", (75, 125))])
def test_frames_that_come_early_and_late_in_turn_are_not_even(name, steps_ms, tmp_path):
    path = tmp_path / name
    stamps = f"settb=1/1000,setpts='floor(N/2)*200+mod(N,2)*{steps_ms[0]}'"
    options = [] if name == "a.gif" else ["-c:v", "ffv1"]
    encode(path, "-vf", stamps, "-fps_mode", "passthrough", "-enc_time_base", "1:1000", *options, num_frames=12)

    clip = read_clip(path)

    assert len(clip.frames_FHWC) == 12
    assert clip.even is False


@pytest.mark.parametrize(
    ("name", "rate"), [("a.gif", "30"), ("a.gif", "15"), ("a.mkv", "30000/1001"), ("a.webm", "24")]
)
def test_time_stamps_rounded_by_their_container_are_even(name, rate, tmp_path):
    path = tmp_path / name
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=64x48:r={rate}", "-frames:v", "40", path)

    clip = read_clip(path)

    assert clip.even
    assert clip.fps == pytest.approx(float(Fraction(rate)), rel=0.01)


def test_frames_close_to_one_another_are_all_there(tmp_path):
    stamps = "settb=1/1000,setpts='N*100-60*eq(mod(N,3),2)'"
    path = tmp_path / "a.mkv"
    encode(path, "-vf", stamps, "-fps_mode", "passthrough", "-enc_time_base", "1:1000", "-c:v", "ffv1", num_frames=12)

    clip = read_clip(path)

    np.testing.assert_array_equal(clip.frames_FHWC, striped(12))
    assert clip.even is False


# --------------------------------------------------------------------------------------------------------------- size


def test_a_clip_that_would_not_fit_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "bomb.gif"
    ffmpeg("-f", "lavfi", "-i", "color=s=1280x960:r=10", "-frames:v", "40", path)
    monkeypatch.setattr(media, "MAX_DECODED_BYTES", 100 << 20)  # its frames take 147 MB
    assert path.stat().st_size < 500_000

    tracemalloc.start()
    with pytest.raises(ObservationError, match="once decoded"):
        read_clip(path)
    with pytest.raises(ObservationError, match="once decoded"):
        read_clip(path, num_frames=39)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 16 << 20
    assert len(read_clip(path, 35, 17).frames_FHWC) == 5


def test_a_frame_that_is_too_large_is_never_decoded(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.gif")
    monkeypatch.setattr(media, "MAX_PIXELS", 64 * 47)
    with pytest.raises(ObservationError, match="million pixels"):
        read_clip(path)


@pytest.mark.slow
@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    st.sampled_from(["mp4", "gif", "mkv", "avi"]),
    st.lists(st.tuples(st.floats(0, 0.3), st.binary(min_size=1, max_size=6)), min_size=1, max_size=3),
)
def test_any_damage_to_a_header_gives_a_clip_or_one_line(tmp_path_factory, kind, damage):
    path = HEADERS.get(kind) or encode(
        tmp_path_factory.mktemp("whole") / f"a.{kind}", *["-c:v", "ffv1"] * (kind == "mkv")
    )
    HEADERS[kind] = path
    content = bytearray(path.read_bytes())
    for place, noise in damage:
        at = int(place * len(content))
        content[at : at + len(noise)] = noise
    broken = tmp_path_factory.mktemp("broken") / f"a.{kind}"
    broken.write_bytes(content)

    clip, refusal = attempt(lambda: read_clip(broken, name="a clip"), ObservationError)

    if refusal is None:
        assert clip.frames_FHWC.dtype == np.uint8
        assert np.isfinite(clip.fps)
    else:
        assert refusal.startswith("a clip ")
        assert "\n" not in refusal


HEADERS = {}
