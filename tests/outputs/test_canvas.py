"""The canvas that every picture is drawn on."""

import numpy as np
import pytest

from strands_diffusers.outputs import style
from strands_diffusers.outputs.canvas import Canvas, Plot


@pytest.mark.parametrize("va", ["top", "center", "bottom", "baseline", "capitals"])
@pytest.mark.parametrize("ha", ["left", "center", "right"])
def test_letters_lie_in_the_box_that_the_layout_counts_on(ha, va):
    canvas = Canvas(200, 100)
    width = canvas.write(100, 50, "Hxy|", 20, ha=ha, va=va)

    [text] = canvas.texts
    left, top, right, bottom = text.box
    rows, columns = np.nonzero((canvas.pixels() < 200).any(axis=2))
    assert right - left == width
    assert {"left": left, "center": (left + right) / 2, "right": right}[ha] == pytest.approx(100)
    assert left - 1 <= columns.min() < left + 4 < right - 8 < columns.max() <= right + 1
    assert top - 3 <= rows.min() < top + 4 < bottom - 4 < rows.max() <= bottom + 3
    assert {"top": top, "center": (top + bottom) / 2, "bottom": bottom}.get(va, 50) == pytest.approx(50)


def test_what_lies_beyond_the_canvas_is_cut():
    canvas = Canvas(40, 30)
    for x, y in [(-20, -8), (30, 25), (-300, 10), (10, 300), (300, -300)]:
        canvas.write(x, y, "Word", 16)

    assert canvas.pixels().shape == (30, 40, 3)


def test_values_lie_where_the_plot_says_and_what_is_clipped_ends_there():
    canvas = Canvas(100, 60)
    plot = Plot(canvas, 20, 10, 60, 40, (0, 6), (-1, 1))
    canvas.line(plot.px([-10, 20], 0), style.INK, 2, clip=plot)

    np.testing.assert_array_equal(plot.px([0, 3, 6], [-1, 0, 1]), [[20, 50], [50, 30], [80, 10]])
    dark = np.flatnonzero((canvas.pixels()[30] == style.rgb(style.INK)).all(axis=1))
    assert (dark.min(), dark.max()) == (20, 79)


def test_a_picture_scaled_as_squares_keeps_its_pixels():
    picture_HWC = np.random.default_rng(0).integers(0, 256, (24, 16, 3), np.uint8)

    larger_HWC = style.scaled(picture_HWC, 32, 72, smooth=False)
    np.testing.assert_array_equal(larger_HWC, picture_HWC.repeat(3, axis=0).repeat(2, axis=1))
    np.testing.assert_array_equal(style.scaled(larger_HWC, 16, 24, smooth=False), picture_HWC)
