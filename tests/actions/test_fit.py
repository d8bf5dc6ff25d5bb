"""Statistics in one pass: exact where they can be, and as close as they say where they cannot."""

import json
import tracemalloc

import numpy as np
import pytest

from strands_diffusers import actions
from strands_diffusers.actions.fit import BINS
from strands_diffusers.errors import ActionError, DomainError

ROWS = 400_000
SHAPES = {
    "normal": lambda rng: rng.normal(size=ROWS),
    "sorted": lambda rng: np.sort(rng.normal(size=ROWS)),
    "falling": lambda rng: -np.sort(rng.exponential(size=ROWS)),
    "skewed": lambda rng: rng.lognormal(0, 2, ROWS),
    "heavy_tailed": lambda rng: rng.standard_cauchy(ROWS),
    "drifting": lambda rng: np.concatenate([rng.normal(i % 7, 0.1 * i + 0.01, ROWS // 50) for i in range(50)]),
    "two_valued": lambda rng: (rng.random(ROWS) < 0.985).astype(float),
}


def fitted(rows_ND, **options):
    fit = actions.Fit(rows_ND.shape[1], **options)
    for piece in np.array_split(rows_ND, 97):
        fit.add(piece)
    return fit


def test_a_dataset_that_fits_gives_numpy_s_own_quantiles():
    rows_ND = np.random.default_rng(0).normal(3, 2, (5000, 10))

    fit = fitted(rows_ND)
    found = fit.statistics("bridge", "made up")

    assert fit.exact
    assert fit.rows == 5000
    assert found.domain == "bridge_orig_lerobot"
    np.testing.assert_array_equal(found.q01, np.quantile(rows_ND, 0.01, axis=0))
    np.testing.assert_array_equal(found.q99, np.quantile(rows_ND, 0.99, axis=0))
    np.testing.assert_array_equal(found.min, rows_ND.min(0))
    np.testing.assert_allclose(found.mean, rows_ND.mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.std, rows_ND.std(0), rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_quantiles_of_too_many_rows_are_within_a_hundredth_of_a_percentage_point(shape):
    values = SHAPES[shape](np.random.default_rng(1))

    fit = fitted(np.stack([values, -values], 1), exact_values=20_000)
    found = fit.statistics("pusht", "made up")

    assert not fit.exact
    for column, ordered in enumerate((np.sort(values), np.sort(-values))):
        for quantile, wanted in ((found.q01, 0.01), (found.q99, 0.99)):
            lowest = np.searchsorted(ordered, quantile[column], "left") / ROWS
            highest = np.searchsorted(ordered, quantile[column], "right") / ROWS
            assert lowest - 0.5e-4 <= wanted <= highest + 0.5e-4
    np.testing.assert_allclose(found.mean, [values.mean(), -values.mean()], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.std, [values.std()] * 2, rtol=1e-9)
    assert (found.min[0], found.max[0]) == (values.min(), values.max())


def test_memory_does_not_grow_with_the_dataset():
    rng = np.random.default_rng(2)
    fit = actions.Fit(10, exact_values=100_000)
    peaks = []
    tracemalloc.start()
    for _ in range(3):
        for _ in range(20):
            fit.add(rng.normal(size=(5000, 10)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.reset_peak()
    tracemalloc.stop()

    assert fit.rows == 300_000
    assert peaks[2] < 1.1 * peaks[0]
    assert all(len(values) <= BINS + 1 for values, _ in fit._points)


def test_one_long_piece_is_as_good_as_many():
    rows_ND = np.random.default_rng(3).normal(size=(60_000, 2))
    fit = actions.Fit(2, exact_values=20_000)
    fit.add(rows_ND)

    np.testing.assert_allclose(
        fit.statistics("pusht", "x").q99, fitted(rows_ND, exact_values=20_000).statistics("pusht", "x").q99, atol=2e-3
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((3, 4)), r"rows have shape \[3, 4\]; the domain needs \[N, 2\]"),
        (np.array([[0.0, 1.0], [0.0, np.nan]]), "row 1 holds nan in column 1"),
        (np.zeros((1, 2)), "1 rows of actions have no statistics"),
    ],
)
def test_what_has_no_statistics_is_refused(rows, message):
    with pytest.raises(ActionError, match=message):
        _statistics_of(rows)


def _statistics_of(rows):
    fit = actions.Fit(2)
    fit.add(rows)
    return fit.statistics("pusht", "x")


def test_what_is_written_is_loaded_for_its_domain_alone(tmp_path):
    rows_ND = np.random.default_rng(4).normal(size=(500, 10))
    found = fitted(rows_ND).statistics("fractal", "a robot of mine")

    (tmp_path / "mine.json").write_text(json.dumps(actions.statistics_record(found, rows=500)))
    loaded = actions.load_statistics(str(tmp_path / "mine.json"), "fractal")

    for name in ("q01", "q99", "min", "max", "mean", "std"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(found, name))
    assert loaded.source == "a robot of mine"
    with pytest.raises(DomainError, match="are those of fractal, not of 'bridge_orig_lerobot'"):
        actions.load_statistics(str(tmp_path / "mine.json"), "bridge")
