"""What `spread.png` says of several samples of one job."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from PIL import Image
from rollouts import LAYOUTS, assert_inside, overlapping, rollout_of

from strands_diffusers import actions
from strands_diffusers.errors import OutputError
from strands_diffusers.outputs import style
from strands_diffusers.outputs.timeseries import TimeseriesVisualizer, spread_canvas, timeseries_canvas


def samples_of(domain: str, count: int = 4, **fields):
    """Samples that drift apart around a common course, seeds 5 and up."""
    base = rollout_of(domain, **fields)
    random = np.random.default_rng(3)
    drift_NKTD = random.normal(0, 0.05, (count, *base.action.shape)).cumsum(axis=2).astype(np.float32)
    return [replace(base, sample=i, seed=5 + i, action=base.action + drift_NKTD[i]) for i in range(count)]


def lines_of(canvas, colour: str):
    """The lines of one colour along the whole chunk, thinnest first."""
    lines = [x for x in canvas.shapes if x.colour == colour and not x.mark and not x.face]
    return sorted((x for x in lines if len(x.points) > 2), key=lambda line: line.width)


def words(canvas) -> list[str]:
    return [text.words for text in canvas.texts]


def test_each_sample_is_thin_their_mean_thick_and_all_in_physical_units():
    samples = samples_of("bridge")
    x_NS = np.stack([actions.to_physical(r.action, r.space)[0, :, 9] for r in samples])

    *thin, mean = lines_of(spread_canvas(samples), style.GRIPPER_COLOUR)

    time_S = np.arange(16) + 0.5
    np.testing.assert_array_equal([line.points for line in thin], [mean.clip.px(time_S, x_S) for x_S in x_NS])
    np.testing.assert_allclose(mean.points, mean.clip.px(time_S, x_NS.mean(axis=0)), rtol=0, atol=1e-4)
    assert mean.width > 2.4 * thin[-1].width


def test_the_band_is_one_standard_deviation_wide():
    samples = samples_of("bridge", count=3)
    x_NS = np.stack([actions.to_physical(r.action, r.space)[0, :, 9] for r in samples]).astype(np.float64)

    canvas = spread_canvas(samples)
    *_, plot = canvas.plots
    [band] = [x for x in canvas.shapes if x.face == style.GRIPPER_COLOUR and not x.mark]
    there, back = band.points[:16, 1], band.points[:15:-1, 1]

    deviation_S = x_NS.std(axis=0, ddof=1)
    expected = plot.px(0, 0)[1] - plot.px(0, 2 * deviation_S)[:, 1]
    np.testing.assert_allclose(there - back, expected, atol=1e-3)


def test_the_title_counts_samples_seeds_and_values_of_all_samples():
    samples = samples_of("pusht", pixel_map=True)
    for sample in samples:
        sample.action[:] = 0
    samples[2].action[0, 7, 1] = 1.5

    canvas = spread_canvas(samples)

    said = " ".join(" ".join(words(canvas)).split())
    assert "pusht · 4 samples, seeds 5 to 8 · 16 steps at 10 Hz (1.6 s) · 1 of 128 values (0.78 %) beyond ±1" in said
    rings = [x for x in canvas.shapes if x.colour == style.WARNING_COLOUR and x.z == 3]
    [ring] = [point for x in rings for point in x.points]
    np.testing.assert_array_equal(
        ring, canvas.plots[0].px(7.5, (1.5 + 1) * 256)
    )  # where that sample went, not the mean


@pytest.mark.parametrize("domain", LAYOUTS)
def test_no_label_is_clipped_and_none_covers_another(domain):
    samples = samples_of(domain, prompt="Put it there. " * 30)
    samples = [replace(sample, reference_action=samples[0].action) for sample in samples]
    canvas = spread_canvas(samples)

    for text in canvas.texts:
        assert_inside(canvas, text)
    for first, second in combinations(canvas.texts, 2):
        assert not overlapping(first, second), (first.words, second.words)


def test_a_line_of_facts_that_needs_the_room_sends_the_keys_below_it():
    samples = samples_of("bridge")
    long = [replace(sample, reference_action=sample.action) for sample in samples]

    assert not any("…" in said for said in words(spread_canvas(long)))
    assert spread_canvas(long).height > timeseries_canvas(samples[0]).height


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
