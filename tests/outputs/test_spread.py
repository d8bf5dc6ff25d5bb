"""What `spread.png` says of several samples of one job."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image
from rollouts import LAYOUTS, rollout_of

from strands_diffusers import actions
from strands_diffusers.errors import OutputError
from strands_diffusers.outputs import style
from strands_diffusers.outputs.timeseries import TimeseriesVisualizer, spread_figure, timeseries_figure


def samples_of(domain: str, count: int = 4, **fields):
    """Samples that drift apart around a common course, seeds 5 and up."""
    base = rollout_of(domain, **fields)
    random = np.random.default_rng(3)
    drift_NKTD = random.normal(0, 0.05, (count, *base.action.shape)).cumsum(axis=2).astype(np.float32)
    return [replace(base, sample=i, seed=5 + i, action=base.action + drift_NKTD[i]) for i in range(count)]


def lines_of(figure, colour: str):
    """The lines of one colour along the whole chunk, thinnest first."""
    lines = [line for axes in figure.axes for line in axes.lines if line.get_color() == colour]
    return sorted((x for x in lines if len(x.get_xdata()) > 2), key=lambda line: line.get_linewidth())


def words(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_each_sample_is_thin_their_mean_thick_and_all_in_physical_units():
    samples = samples_of("bridge")
    x_NS = np.stack([actions.to_physical(r.action, r.space)[0, :, 9] for r in samples])

    *thin, mean = lines_of(spread_figure(samples), style.GRIPPER_COLOUR)

    np.testing.assert_array_equal([line.get_ydata() for line in thin], x_NS)
    np.testing.assert_allclose(mean.get_ydata(), x_NS.mean(axis=0), rtol=0, atol=1e-7)
    assert mean.get_linewidth() > 3 * thin[-1].get_linewidth()


def test_the_band_is_one_standard_deviation_wide():
    samples = samples_of("bridge", count=3)
    x_NS = np.stack([actions.to_physical(r.action, r.space)[0, :, 9] for r in samples]).astype(np.float64)

    *_, axes = spread_figure(samples).axes
    [band] = [c for c in axes.collections if c.get_paths()[0].vertices.shape[0] > 30]
    corners = band.get_paths()[0].vertices

    for step in range(16):
        ends = corners[corners[:, 0] == step + 0.5, 1]
        assert np.ptp(ends) == pytest.approx(2 * x_NS[:, step].std(ddof=1), abs=1e-6)


def test_the_title_counts_samples_seeds_and_values_of_all_samples():
    samples = samples_of("pusht", pixel_map=True)
    for sample in samples:
        sample.action[:] = 0
    samples[2].action[0, 7, 1] = 1.5

    figure = spread_figure(samples)

    said = " ".join(" ".join(words(figure)).split())
    assert "pusht · 4 samples, seeds 5 to 8 · 16 steps at 10 Hz (1.6 s) · 1 of 128 values (0.78 %) beyond ±1" in said
    rings = [x for axes in figure.axes for x in axes.lines if x.get_markeredgecolor() == style.WARNING_COLOUR]
    [(step, value)] = [point for ring in rings for point in ring.get_xydata()]
    assert (step, value) == (7.5, (1.5 + 1) * 256)  # on the sample that went there, not on the mean


@pytest.mark.parametrize("domain", LAYOUTS)
def test_no_label_is_clipped_and_none_covers_another(domain):
    samples = samples_of(domain, prompt="Put it there. " * 30)
    samples = [replace(sample, reference_action=samples[0].action) for sample in samples]
    figure = spread_figure(samples)
    figure.canvas.draw()
    width, height = style.size_of(figure)
    boxes = {text: text.get_window_extent() for text in figure.findobj(Text) if text.get_text()}

    for text, box in boxes.items():
        assert 0 <= box.x0 <= box.x1 <= width, text
        assert 0 <= box.y0 <= box.y1 <= height, text
    for (first, a), (second, b) in combinations(boxes.items(), 2):
        apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert apart, (first.get_text(), second.get_text())


def test_a_line_of_facts_that_needs_the_room_sends_the_keys_below_it():
    samples = samples_of("bridge")
    long = [replace(sample, reference_action=sample.action) for sample in samples]

    assert not any("…" in said for said in words(spread_figure(long)))
    assert style.size_of(spread_figure(long))[1] > style.size_of(timeseries_figure(samples[0]))[1]


def test_it_is_one_file_that_says_what_it_shows(tmp_path):
    [artifact] = TimeseriesVisualizer().draw_all(samples_of("umi", chunks=2), tmp_path)

    assert artifact.path == tmp_path / "spread.png"
    assert (artifact.type, artifact.details["samples"], artifact.details["action_shape"]) == ("spread", 4, [2, 16, 10])
    with Image.open(artifact.path) as picture:
        assert [picture.height, picture.width, 3] == artifact.details["shape"]


def test_given_actions_and_single_samples_have_no_spread(tmp_path):
    samples = samples_of("bridge")
    given = [replace(sample, action=None, given_action=sample.action) for sample in samples]

    assert TimeseriesVisualizer().draw_all(given, tmp_path) == []
    assert TimeseriesVisualizer().draw_all(samples[:1], tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_samples_that_do_not_belong_together_are_refused(tmp_path):
    samples = [*samples_of("bridge", count=2), *samples_of("bridge", count=1, chunks=2)]
    with pytest.raises(OutputError, match=r"\(1, 16, 10\), \(2, 16, 10\).*samples of one job"):
        TimeseriesVisualizer().draw_all(samples, tmp_path)

    broken = samples_of("bridge", count=2)
    broken[1].action[0, 3, 2] = np.nan
    with pytest.raises(OutputError, match="action of sample 1"):
        TimeseriesVisualizer().draw_all(broken, tmp_path)
