import re
import warnings

import numpy as np
import pytest
from observing import one_line, striped
from PIL import Image

from strands_diffusers.errors import ObservationError
from strands_diffusers.observations.images import read_folder, read_image

PICTURE = striped(3)[2]


@pytest.mark.parametrize(("name", "options"), [("a.png", {}), ("a.webp", {"lossless": True})])
def test_a_lossless_image_comes_back_bit_for_bit(name, options, tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / name, **options)

    np.testing.assert_array_equal(read_image(tmp_path / name), PICTURE)


def test_real_images_are_read(data):
    assert read_image(data / "nvidia_cosmos" / "umi.png").shape == (256, 256, 3)
    assert read_image(data / "nvidia_cosmos" / "av_0.jpg").shape == (480, 832, 3)


def test_gray_palette_and_opaque_images_become_rgb_exactly(tmp_path):
    gray = PICTURE[..., 0]
    Image.fromarray(gray).save(tmp_path / "gray.png")
    Image.fromarray(np.dstack([PICTURE, np.full(gray.shape, 255, np.uint8)])).save(tmp_path / "opaque.png")
    two = np.where(gray[..., None] > 100, [200, 10, 10], [5, 90, 250]).astype(np.uint8)
    Image.fromarray(two).convert("P", palette=Image.Palette.ADAPTIVE, colors=2).save(tmp_path / "palette.png")

    np.testing.assert_array_equal(read_image(tmp_path / "gray.png"), np.dstack([gray] * 3))
    np.testing.assert_array_equal(read_image(tmp_path / "opaque.png"), PICTURE)
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), two)


def test_a_photo_is_turned_as_its_orientation_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PICTURE).save(tmp_path / "photo.png", exif=exif)

    np.testing.assert_array_equal(read_image(tmp_path / "photo.png"), np.rot90(PICTURE, -1))


def unreadable(tmp_path):
    rgba = np.dstack([PICTURE, np.full(PICTURE.shape[:2], 128, np.uint8)])
    deep = PICTURE[..., 0].astype(np.uint16) * 257
    Image.fromarray(PICTURE).save(tmp_path / "whole.jpg")
    Image.fromarray(PICTURE).save(tmp_path / "whole.png")
    whole_jpg, whole_png = (tmp_path / "whole.jpg").read_bytes(), (tmp_path / "whole.png").read_bytes()
    damaged = bytearray(whole_png)
    damaged[len(damaged) // 2] ^= 0xFF
    Image.fromarray(rgba).save(tmp_path / "glass.png")
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(PICTURE).convert("CMYK").save(tmp_path / "print.jpg")
    Image.fromarray(PICTURE).save(
        tmp_path / "moving.webp", save_all=True, append_images=[Image.fromarray(255 - PICTURE)], lossless=True
    )
    Image.fromarray(PICTURE).save(tmp_path / "really_a.bmp")
    return {
        "empty.png": (b"", "is empty"),
        "half.jpg": (whole_jpg[: len(whole_jpg) // 2], "truncated or damaged"),
        "half.png": (whole_png[: len(whole_png) // 2], "truncated or damaged"),
        "damaged.png": (bytes(damaged), "truncated or damaged"),
        "text.png": (b"no picture at all", "is not an image"),
        "bitmap.png": ((tmp_path / "really_a.bmp").read_bytes(), "is not an image"),
        "glass.png": (None, "transparent"),
        "deep.png": (None, "16 bits a channel"),
        "print.jpg": (None, "mode CMYK"),
        "moving.webp": (None, "animation of 2"),
    }


@pytest.mark.parametrize(
    "name",
    [
        "empty.png",
        "half.jpg",
        "half.png",
        "damaged.png",
        "text.png",
        "bitmap.png",
        "glass.png",
        "deep.png",
        "print.jpg",
        "moving.webp",
    ],
)
def test_what_is_not_exactly_an_image_is_refused(name, tmp_path):
    content, words = unreadable(tmp_path)[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(ObservationError, match=words) as error:
        read_image(tmp_path / name)

    assert name in one_line(error)


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    Image.fromarray(PICTURE).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # the limit, not the reader: a real bomb takes 500 MB here

    with warnings.catch_warnings(), pytest.raises(ObservationError, match="too large"):
        read_image(tmp_path / "bomb.png")


# --------------------------------------------------------------------------------------------------------- folders


@pytest.fixture
def folder(tmp_path):
    """Twelve frames named frame_0.png to frame_11.png, and what else lies in such folders."""
    directory = tmp_path / "frames"
    directory.mkdir()
    for i, frame in enumerate(striped(12)):
        Image.fromarray(frame).save(directory / f"frame_{i}.png")
    (directory / ".hidden.png").write_bytes(b"not read")
    (directory / "notes.txt").write_text("not read")
    (directory / "thumbnails").mkdir()
    return directory


def test_a_folder_is_read_in_natural_order(folder):
    np.testing.assert_array_equal(read_folder(folder), striped(12))


def test_start_number_and_stride_choose_images(folder):
    np.testing.assert_array_equal(read_folder(folder, 2, 3, 4), striped(12)[2:11:4])


def test_images_that_are_not_asked_for_are_not_opened(folder):
    (folder / "frame_7.png").write_bytes(b"broken")

    assert len(read_folder(folder, 0, 7)) == 7
    with pytest.raises(ObservationError, match="frame_7"):
        read_folder(folder)


def test_the_odd_one_out_is_named(folder):
    Image.fromarray(PICTURE[:-8]).save(folder / "frame_10.png")

    with pytest.raises(ObservationError, match=r"frame_10\.png is 64x40, and frame_0\.png before it is 64x48") as error:
        read_folder(folder)

    one_line(error)


def test_folders_without_frames_say_what_they_seem_to_be(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ObservationError, match="without images"):
        read_folder(tmp_path / "empty")
    with pytest.raises(ObservationError, match="no frame 12: it holds 12 images"):
        read_folder(folder, start=12)
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(ObservationError, match=f"run:{re.escape(str(folder))}"):
        read_folder(folder)


def test_a_lerobot_dataset_is_pointed_to_its_own_source(data):
    with pytest.raises(ObservationError, match=r"lerobot:.*@episode:0"):
        read_folder(data / "nvidia_cosmos" / "droid_lerobot_example")
