"""Intervals of statistics other than a mean."""

import numpy as np
import pytest

from strands_diffusers.evaluation.bootstrap import interval

from .table import interval_of


def test_any_statistic_has_an_interval_over_groups() -> None:
    values = np.random.default_rng(2).normal(3.0, 1.0, 60)
    groups = np.repeat(np.arange(12), 5)

    low, high = interval_of(lambda pick: values[pick].mean(), groups)

    assert (low, high) == pytest.approx(interval(values, groups), abs=0.05)
    assert interval_of(lambda pick: np.median(values[pick]), groups % 4) is None
